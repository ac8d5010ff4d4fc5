//! What a function returns: the types of its value and its error. It must not know what the function is.

use syn::{GenericArgument, PathArguments, ReturnType, Signature, Type};

/// A `Result` in the signature of a function.
pub(crate) struct Returned<'a> {
    pub(crate) output: &'a Type,
    /// `None` for the error of the result that the engine defines.
    pub(crate) error: Option<&'a Type>,
}

impl<'a> Returned<'a> {
    /// Reads `Result<T, E>`, or the engine's own result with that name: `ActivityResult<T>`.
    pub(crate) fn read(signature: &'a Signature, own: &str) -> syn::Result<Self> {
        let problem = format!(
            "it returns `{own}<T>`, or `Result<T, E>` with both types: a macro cannot see through an alias"
        );
        let ReturnType::Type(_, returned) = &signature.output else {
            return Err(syn::Error::new(signature.ident.span(), problem));
        };
        let found = match &**returned {
            Type::Path(path) => path.path.segments.last().and_then(|last| match &last.arguments {
                PathArguments::AngleBracketed(arguments) => {
                    let types: Vec<_> = arguments.args.iter().filter_map(as_type).collect();
                    match types[..] {
                        [output] if last.ident == own => Some(Self { output, error: None }),
                        [output, error] if last.ident == "Result" => {
                            Some(Self { output, error: Some(error) })
                        }
                        _ => None,
                    }
                }
                PathArguments::None | PathArguments::Parenthesized(_) => None,
            }),
            _ => None,
        };
        found.ok_or_else(|| syn::Error::new_spanned(returned, problem))
    }
}

fn as_type(argument: &GenericArgument) -> Option<&Type> {
    match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    }
}
