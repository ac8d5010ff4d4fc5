//! `#[activities]`: the definitions and the registration of the methods of an `impl` block that are activities. It must
//! not know how an activity is executed.

mod method;
mod options;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{ImplItem, ItemImpl, Path, Type};

use self::method::Method;
use crate::arguments::{self, Argument};
use crate::stored_name;

pub(crate) fn expand(arguments: TokenStream, mut block: ItemImpl) -> TokenStream {
    let made = generate(arguments, &block).unwrap_or_else(syn::Error::into_compile_error);
    // The block stays even if there is an error, so that nothing else seems to be missing.
    for item in &mut block.items {
        if let ImplItem::Fn(method) = item {
            method.attrs.retain(|attribute| !method::is_activity(attribute));
        }
    }
    quote!(#block #made)
}

fn generate(arguments: TokenStream, block: &ItemImpl) -> syn::Result<TokenStream> {
    let krate = crate_path(arguments)?;
    check(block)?;
    let owner = match &*block.self_ty {
        Type::Path(path) => path.path.segments.last().map(|last| stored_name::suggested(&last.ident) + "."),
        _ => None,
    };
    let owner = owner.unwrap_or_default();
    let mut methods: Vec<Method<'_>> = Vec::new();
    let mut problems: Option<syn::Error> = None;
    for item in &block.items {
        let ImplItem::Fn(item) = item else { continue };
        match Method::read(item, &owner)
            .and_then(|method| method.map(|method| method.unlike(&methods)).transpose())
        {
            Ok(method) => methods.extend(method),
            Err(problem) => match &mut problems {
                Some(problems) => problems.combine(problem),
                None => problems = Some(problem),
            },
        }
    }
    if let Some(problems) = problems {
        return Err(problems);
    }
    if methods.is_empty() {
        let problem = "no method of this block is an activity: write `#[activity(name = \"…\")]` above one";
        return Err(syn::Error::new_spanned(&block.self_ty, problem));
    }
    let this = &block.self_ty;
    let definitions = methods.iter().map(|method| method.definition(&krate));
    let registrations = methods.iter().map(|method| method.registration(&krate));
    Ok(quote! {
        #[automatically_derived]
        impl #this {
            #(#definitions)*
        }

        #[automatically_derived]
        impl #krate::activity::Activities for #this {
            fn activities(self: ::std::sync::Arc<Self>) -> ::std::vec::Vec<#krate::activity::ActivityFn> {
                let mut activities = ::std::vec::Vec::new();
                #(#registrations)*
                activities
            }
        }
    })
}

/// The path of this library.
fn crate_path(input: TokenStream) -> syn::Result<Path> {
    let mut path = syn::parse_quote!(::pgworkflows);
    for argument in arguments::parse(input)? {
        match argument {
            Argument::Crate(given) => path = given,
            Argument::Set(name, _) | Argument::Flag(name) => {
                let problem =
                    "`#[activities]` takes `crate = path` only; names and options belong to the methods";
                return Err(syn::Error::new(name.span(), problem));
            }
        }
    }
    Ok(path)
}

/// What no block of activities may be.
fn check(block: &ItemImpl) -> syn::Result<()> {
    if let Some(first) = block.generics.params.first() {
        let problem = "activities are registered under stored names, which all types of a generic block would share: replace \
                       the parameter by `Arc<dyn Trait>`";
        return Err(syn::Error::new_spanned(first, problem));
    }
    if block.trait_.is_some() {
        let problem = "`#[activities]` belongs on the inherent block of a type: `impl Billing { … }`";
        return Err(syn::Error::new_spanned(&block.self_ty, problem));
    }
    Ok(())
}
