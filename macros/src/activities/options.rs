//! What `#[activity(…)]` says: the stored name and the options of calls. It must not know the method.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Attribute, Expr, Ident, LitStr, Meta, Path};

use crate::arguments::{self, Argument};

/// The options that have a value, in the order in which the documentation lists them.
const VALUES: [&str; 4] = ["retry", "start_to_close", "schedule_to_close", "queue"];

/// The option that has none.
const AT_MOST_ONCE: &str = "at_most_once";

pub(super) struct Options {
    pub(super) name: LitStr,
    /// Each is a method of `ActivityOptions` with its argument.
    set: Vec<(Ident, Option<Expr>)>,
}

impl Options {
    pub(super) fn read(attribute: &Attribute, suggestion: &str, span: Span) -> syn::Result<Self> {
        let input = match &attribute.meta {
            Meta::Path(_) => TokenStream::new(),
            Meta::List(list) => list.tokens.clone(),
            other => return Err(syn::Error::new_spanned(other, "write `#[activity(name = \"…\")]`")),
        };
        let mut name = None;
        let mut set = Vec::new();
        for argument in arguments::parse(input)? {
            match argument {
                Argument::Set(key, value) if key == "name" => {
                    name = Some(arguments::stored_name("an activity", &value)?);
                }
                Argument::Set(key, value) if VALUES.iter().any(|known| key == known) => {
                    set.push((key, Some(value)))
                }
                Argument::Flag(key) if key == AT_MOST_ONCE => set.push((key, None)),
                Argument::Set(key, _) | Argument::Flag(key) => return Err(unknown(&key)),
                Argument::Crate(path) => {
                    return Err(syn::Error::new_spanned(path, "`crate = path` belongs to `#[activities]`"));
                }
            }
        }
        let Some(name) = name else {
            let problem = format!(
                "the activity has no stored name: write `#[activity(name = \"{suggestion}\")]`; open runs refer to the name, so \
                 that the method can be renamed later"
            );
            return Err(syn::Error::new(span, problem));
        };
        Ok(Self { name, set })
    }

    /// The call of `ActivityDef::options`, if there are any.
    pub(super) fn call(&self, krate: &Path) -> TokenStream {
        if self.set.is_empty() {
            return TokenStream::new();
        }
        let set = self.set.iter().map(|(option, value)| quote!(.#option(#value)));
        quote!(.options(|| #krate::activity::ActivityOptions::default() #(#set)*))
    }
}

fn unknown(key: &Ident) -> syn::Error {
    let problem = if VALUES.iter().any(|known| key == known) || key == "name" {
        format!("`{key}` needs a value: `{key} = …`")
    } else if key == AT_MOST_ONCE {
        format!("`{AT_MOST_ONCE}` has no value")
    } else {
        format!(
            "`{key}` is no option of an activity: there are name, {} and {AT_MOST_ONCE}",
            VALUES.join(", ")
        )
    };
    syn::Error::new(key.span(), problem)
}
