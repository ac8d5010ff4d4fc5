//! The arguments of an attribute: `name = value`, `flag`, and `crate = path`. They must not know the attribute.

use proc_macro2::TokenStream;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Expr, ExprLit, Ident, Lit, LitStr, Path, Token};

use crate::stored_name;

/// One argument of an attribute.
pub(crate) enum Argument {
    Crate(Path),
    Set(Ident, Expr),
    Flag(Ident),
}

/// Reads arguments that are separated by commas. None may be given twice.
pub(crate) fn parse(input: TokenStream) -> syn::Result<Vec<Argument>> {
    let parse_all =
        |input: ParseStream<'_>| Punctuated::<_, Token![,]>::parse_terminated_with(input, parse_one);
    let parsed = parse_all.parse2(input)?;
    let mut seen: Vec<Ident> = Vec::new();
    for (name, _) in &parsed {
        if seen.contains(name) {
            return Err(syn::Error::new(name.span(), format!("`{name}` is given twice")));
        }
        seen.push(name.clone());
    }
    Ok(parsed.into_iter().map(|(_, argument)| argument).collect())
}

fn parse_one(input: ParseStream<'_>) -> syn::Result<(Ident, Argument)> {
    let name = input.call(Ident::parse_any)?;
    if !input.peek(Token![=]) {
        return Ok((name.clone(), Argument::Flag(name)));
    }
    input.parse::<Token![=]>()?;
    let argument = if name == "crate" {
        Argument::Crate(input.call(Path::parse_mod_style)?)
    } else {
        Argument::Set(name.clone(), input.parse()?)
    };
    Ok((name, argument))
}

/// The value of `name = "…"`.
pub(crate) fn stored_name(what: &str, value: &Expr) -> syn::Result<LitStr> {
    let Expr::Lit(ExprLit { lit: Lit::Str(name), .. }) = value else {
        return Err(syn::Error::new_spanned(
            value,
            "the stored name is a text, such as `name = \"billing.charge\"`",
        ));
    };
    stored_name::check(what, name)?;
    Ok(name.clone())
}
