//! A method that is an activity: what it takes and returns. It must not know the other methods, except for their names.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, FnArg, Ident, ImplItemFn, Path, Signature, Type};

use super::options::Options;
use crate::returned::Returned;
use crate::stored_name;
use crate::stored_type::borrows;

/// How many arguments an activity takes: as many values as `Positional` can have.
const ARGUMENTS_MAX: usize = 8;

pub(super) fn is_activity(attribute: &Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|segment| segment.ident == "activity")
}

/// A method with `#[activity]`.
pub(super) struct Method<'a> {
    item: &'a ImplItemFn,
    options: Options,
    takes_context: bool,
    arguments: Vec<&'a Type>,
    returned: Returned<'a>,
}

impl<'a> Method<'a> {
    /// Reads a method; `None` if it is no activity.
    pub(super) fn read(item: &'a ImplItemFn, owner: &str) -> syn::Result<Option<Self>> {
        let mut attributes = item.attrs.iter().filter(|attribute| is_activity(attribute));
        let Some(attribute) = attributes.next() else {
            return Ok(None);
        };
        if let Some(second) = attributes.next() {
            let problem = "a method is one activity: write a method for each stored name";
            return Err(syn::Error::new_spanned(second, problem));
        }
        let Signature { ident, generics, inputs, asyncness, .. } = &item.sig;
        let suggestion = format!("{owner}{}", stored_name::suggested(ident));
        let options = Options::read(attribute, &suggestion, ident.span())?;
        if asyncness.is_none() {
            return Err(syn::Error::new(ident.span(), "an activity is an `async fn`"));
        }
        if !generics.params.is_empty() {
            let problem =
                "an activity is registered under one stored name, so its method has no type parameters";
            return Err(syn::Error::new_spanned(generics, problem));
        }
        let mut inputs = inputs.iter();
        match inputs.next() {
            Some(FnArg::Receiver(receiver)) if quote!(#receiver).to_string() == "& self" => {}
            other => {
                let problem = "an activity takes `&self`: its attempts share what the value contains";
                return Err(syn::Error::new(other.map_or(ident.span(), Spanned::span), problem));
            }
        }
        let mut types: Vec<_> = inputs
            .filter_map(|input| match input {
                FnArg::Typed(typed) => Some(&*typed.ty),
                FnArg::Receiver(_) => None,
            })
            .collect();
        let takes_context = types.first().is_some_and(|first| is_context_reference(first));
        if takes_context {
            types.remove(0);
        }
        types.iter().try_for_each(|argument| check_argument(argument))?;
        if let Some(surplus) = types.get(ARGUMENTS_MAX) {
            let problem = format!(
                "an activity takes at most {ARGUMENTS_MAX} arguments: put some of them into a struct"
            );
            return Err(syn::Error::new_spanned(surplus, problem));
        }
        let returned = Returned::read(&item.sig, "ActivityResult")?;
        Ok(Some(Self { item, options, takes_context, arguments: types, returned }))
    }

    /// Refuses the stored name of another method.
    pub(super) fn unlike(self, others: &[Self]) -> syn::Result<Self> {
        let name = self.options.name.value();
        if others.iter().any(|other| other.options.name.value() == name) {
            let problem = format!("two activities have the stored name `{name}`; name each differently");
            return Err(syn::Error::new(self.options.name.span(), problem));
        }
        Ok(self)
    }

    /// The constant by which workflows call the activity.
    pub(super) fn definition(&self, krate: &Path) -> TokenStream {
        let Self { item, options, arguments, returned, .. } = self;
        let (visibility, constant, name) = (&item.vis, self.constant(), &options.name);
        let conditions = self.conditions();
        let summary = format!("The activity `{}`: calls `{}`.", name.value(), item.sig.ident);
        let documentation = item.attrs.iter().filter(|attribute| attribute.path().is_ident("doc"));
        let (output, set) = (returned.output, options.call(krate));
        let error =
            returned.error.map_or_else(|| quote!(#krate::activity::ActivityError), |error| quote!(#error));
        // An error that cannot be one of an activity is reported where it is written.
        let new = quote_spanned!(error.span()=> #krate::activity::ActivityDef::new);
        quote! {
            #(#conditions)*
            #[doc = #summary]
            #[doc = ""]
            #(#documentation)*
            #visibility const #constant: #krate::activity::ActivityDef<(#(#arguments,)*), #output, #error> =
                #new(#name) #set;
        }
    }

    /// Adds the activity to those of the type.
    pub(super) fn registration(&self, krate: &Path) -> TokenStream {
        let (conditions, constant, method) = (self.conditions(), self.constant(), &self.item.sig.ident);
        let arguments: Vec<_> =
            (0..self.arguments.len()).map(|index| format_ident!("argument_{index}")).collect();
        let (context, borrowed) = if self.takes_context {
            (quote!(context), quote!(&context,))
        } else {
            (quote!(_context), TokenStream::new())
        };
        quote! {
            #(#conditions)*
            activities.push({
                let this = ::std::sync::Arc::clone(&self);
                #krate::activity::ActivityFn::new(Self::#constant, move |#context, (#(#arguments,)*)| {
                    let this = ::std::sync::Arc::clone(&this);
                    async move { this.#method(#borrowed #(#arguments),*).await }
                })
            });
        }
    }

    fn constant(&self) -> Ident {
        let method = self.item.sig.ident.unraw();
        Ident::new(&method.to_string().to_uppercase(), method.span())
    }

    /// `#[cfg(…)]` holds for everything that is made of the method.
    fn conditions(&self) -> Vec<&Attribute> {
        self.item.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg")).collect()
    }
}

fn is_context(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "ActivityContext"))
}

fn is_context_reference(ty: &Type) -> bool {
    matches!(ty, Type::Reference(reference) if reference.mutability.is_none() && is_context(&reference.elem))
}

/// Refuses what cannot be stored.
fn check_argument(ty: &Type) -> syn::Result<()> {
    let problem = match ty {
        ty if is_context(ty) || is_context_reference(ty) => {
            "`&ActivityContext` comes first, directly after `&self`"
        }
        Type::ImplTrait(_) => "arguments are stored and read back, so each has a type of its own",
        ty if borrows(ty) => {
            "arguments are stored, so they are owned: `String` instead of `&str`, `Vec<T>` instead of `&[T]`"
        }
        _ => return Ok(()),
    };
    Err(syn::Error::new_spanned(ty, problem))
}
