//! Types of what is stored and read back later: they own what they contain. They must not know what they are the types of.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::Type;

/// Whether a type borrows something: it has a reference within it, or a lifetime other than `'static`.
pub(crate) fn borrows(ty: &Type) -> bool {
    tokens_borrow(ty.to_token_stream())
}

fn tokens_borrow(tokens: TokenStream) -> bool {
    let mut tokens = tokens.into_iter();
    while let Some(token) = tokens.next() {
        let borrows = match token {
            TokenTree::Group(group) => tokens_borrow(group.stream()),
            TokenTree::Punct(punct) if punct.as_char() == '&' => true,
            TokenTree::Punct(punct) if punct.as_char() == '\'' => {
                !matches!(tokens.next(), Some(TokenTree::Ident(lifetime)) if lifetime == "static")
            }
            _ => false,
        };
        if borrows {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::borrows;

    #[test]
    fn borrow_is_found_at_any_depth() {
        for ty in [
            parse_quote!(&str),
            parse_quote!(Option<&str>),
            parse_quote!(Vec<(u8, [&'static str; 2])>),
            parse_quote!(Cow<'_, str>),
            parse_quote!(Cow<'a, [u8]>),
        ] {
            assert!(borrows(&ty));
        }
        for ty in [parse_quote!(Option<String>), parse_quote!(Cow<'static, str>), parse_quote!([u8; 4])] {
            assert!(!borrows(&ty));
        }
    }
}
