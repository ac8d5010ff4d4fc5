//! `#[workflow]`: a type with the name of a function, by which the workflow is registered and started. It must not know
//! how a workflow is executed.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{FnArg, ItemFn, LitStr, Path, Signature, Type};

use crate::arguments::{self, Argument};
use crate::returned::Returned;
use crate::stored_name;
use crate::stored_type::borrows;

pub(crate) fn expand(arguments: TokenStream, function: &ItemFn) -> TokenStream {
    let made = generate(arguments, function).unwrap_or_else(syn::Error::into_compile_error);
    quote!(#function #made)
}

fn generate(arguments: TokenStream, function: &ItemFn) -> syn::Result<TokenStream> {
    let Signature { ident, generics, asyncness, .. } = &function.sig;
    let (name, krate) = read_arguments(arguments, function)?;
    if asyncness.is_none() {
        return Err(syn::Error::new(ident.span(), "a workflow is an `async fn`"));
    }
    if !generics.params.is_empty() {
        let problem = "a workflow is registered under one stored name, so it has no type parameters";
        return Err(syn::Error::new_spanned(generics, problem));
    }
    let input = input(&function.sig)?;
    let (parameter, given, input) = match input {
        Some(input) => (quote!(input), quote!(input), quote!(#input)),
        None => (quote!(_input), TokenStream::new(), quote!(())),
    };
    let Returned { output, error } = Returned::read(&function.sig, "WorkflowResult")?;
    let convert = error.map(|_| quote!(.map_err(::core::convert::Into::into)));
    let visibility = &function.vis;
    let conditions: Vec<_> =
        function.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg")).collect();
    let summary = format!("The workflow `{}`: runs [`{ident}()`].", name.value());
    let documentation = function.attrs.iter().filter(|attribute| attribute.path().is_ident("doc"));
    Ok(quote! {
        #(#conditions)*
        #[doc = #summary]
        #[doc = ""]
        #(#documentation)*
        #[derive(::core::fmt::Debug)]
        #[allow(non_camel_case_types, reason = "it has the name of its function")]
        #visibility enum #ident {}

        #(#conditions)*
        #[automatically_derived]
        impl #krate::Workflow for #ident {
            const NAME: &'static str = #name;
            type Input = #input;
            type Output = #output;

            async fn run(
                context: #krate::Context,
                #parameter: Self::Input,
            ) -> #krate::workflow::WorkflowResult<Self::Output> {
                #ident(context, #given).await #convert
            }
        }
    })
}

/// The stored name and the path of this library.
fn read_arguments(input: TokenStream, function: &ItemFn) -> syn::Result<(LitStr, Path)> {
    let (mut name, mut path) = (None, syn::parse_quote!(::pgworkflows));
    for argument in arguments::parse(input)? {
        match argument {
            Argument::Set(key, value) if key == "name" => {
                name = Some(arguments::stored_name("a workflow", &value)?)
            }
            Argument::Crate(given) => path = given,
            Argument::Set(key, _) | Argument::Flag(key) => {
                return Err(syn::Error::new(
                    key.span(),
                    "a workflow takes `name = \"…\"`, and `crate = path`",
                ));
            }
        }
    }
    let ident = &function.sig.ident;
    let name = name.ok_or_else(|| {
        let suggestion = stored_name::suggested(ident);
        let problem = format!(
            "the workflow has no stored name: write `#[workflow(name = \"{suggestion}\")]`; open runs refer to the name, so \
             that the function can be renamed later"
        );
        syn::Error::new(ident.span(), problem)
    })?;
    Ok((name, path))
}

/// The type of the input, if there is one.
fn input(signature: &Signature) -> syn::Result<Option<&Type>> {
    let mut inputs = signature.inputs.iter().map(|input| match input {
        FnArg::Typed(typed) => Ok(&*typed.ty),
        FnArg::Receiver(receiver) => {
            Err(syn::Error::new_spanned(receiver, "a workflow is a function: what it needs is in its input"))
        }
    });
    match inputs.next().transpose()? {
        Some(Type::Reference(context)) => {
            return Err(syn::Error::new_spanned(context, "a workflow takes its `Context` by value"));
        }
        Some(_) => {}
        None => {
            let problem = "a workflow takes its `Context`, and at most one input";
            return Err(syn::Error::new(signature.ident.span(), problem));
        }
    }
    let input = inputs.next().transpose()?;
    if let Some(input) = input.filter(|input| borrows(input)) {
        return Err(syn::Error::new_spanned(
            input,
            "the input is stored, so it is owned: `String` instead of `&str`",
        ));
    }
    if let Some(surplus) = inputs.next().transpose()? {
        let problem = "a workflow takes one input: put all values into a struct";
        return Err(syn::Error::new_spanned(surplus, problem));
    }
    Ok(input)
}
