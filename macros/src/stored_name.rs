//! Names that are stored, and therefore chosen by the author. They must not know what they name.

use std::fmt;

use syn::ext::IdentExt;
use syn::{Ident, LitStr};

/// How many bytes a stored name may have: the engine refuses more at run time.
const BYTES_MAX: usize = 255;

/// Checks what the engine would refuse at run time.
pub(crate) fn check(what: impl fmt::Display, name: &LitStr) -> syn::Result<()> {
    let text = name.value();
    let problem = if text.is_empty() {
        "is empty".to_owned()
    } else if text.len() > BYTES_MAX {
        format!("has {} bytes, and the limit is {BYTES_MAX}", text.len())
    } else if text.chars().any(char::is_control) {
        "contains a control character".to_owned()
    } else {
        return Ok(());
    };
    Err(syn::Error::new(name.span(), format!("the stored name of {what} {problem}; choose another")))
}

/// A stored name for something with this name in the code: `card-declined` for `CardDeclined` and `card_declined`.
pub(crate) fn suggested(ident: &Ident) -> String {
    let mut name = String::new();
    for (index, letter) in ident.unraw().to_string().chars().enumerate() {
        if letter.is_uppercase() && index > 0 {
            name.push('-');
        }
        if letter == '_' {
            name.push('-');
        } else {
            name.extend(letter.to_lowercase());
        }
    }
    name
}
