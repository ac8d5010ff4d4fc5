//! `#[derive(Failure)]`: the display, the stored names, the details and the conversions of an enum of failures. It must
//! not know how a failure is recorded.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Fields, Ident, Item, ItemEnum, LitStr, Path, Token, Variant};

use crate::message::Message;
use crate::stored_name;

/// How many fields without names a variant may have: as many values as `Positional` can have.
const FIELDS_MAX: usize = 8;

pub(crate) fn expand(item: &Item) -> syn::Result<TokenStream> {
    let Item::Enum(item) = item else {
        let problem =
            "`Failure` can be derived for an enum only: make this an enum with one variant for each failure";
        return Err(syn::Error::new(Span::call_site(), problem));
    };
    if !item.generics.params.is_empty() {
        let problem =
            "a failure is stored and read back by its names, so it has no type parameters and no lifetimes";
        return Err(syn::Error::new_spanned(&item.generics, problem));
    }
    if item.variants.is_empty() {
        return Err(syn::Error::new_spanned(&item.ident, "a failure needs at least one variant"));
    }
    let krate = crate_path(&item.attrs)?;
    let failures = item.variants.iter().map(NamedVariant::new).collect::<syn::Result<Vec<_>>>()?;
    check_unique(&failures)?;
    implementations(item, &krate, &failures)
}

/// The path of this library: `::pgworkflows`, unless `#[failure(crate = …)]` gives another one.
fn crate_path(attributes: &[Attribute]) -> syn::Result<Path> {
    let mut path = syn::parse_quote!(::pgworkflows);
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("failure")) {
        let given = attribute.parse_args_with(|input: ParseStream<'_>| {
            input.parse::<Token![crate]>()?;
            input.parse::<Token![=]>()?;
            input.call(Path::parse_mod_style)
        });
        path = given.map_err(|error| {
            let problem = "the enum itself takes `crate = path` only; stored names belong to the variants";
            syn::Error::new(error.span(), problem)
        })?;
    }
    Ok(path)
}

/// A variant with its stored name.
struct NamedVariant<'a> {
    variant: &'a Variant,
    name: LitStr,
    fatal: bool,
    message: LitStr,
}

/// What the attribute of a variant says.
struct Arguments {
    name: LitStr,
    fatal: bool,
    message: Option<LitStr>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if !input.peek(LitStr) {
            return Err(
                input.error("the stored name comes first, as a text: `#[failure(\"card-declined\")]`")
            );
        }
        let mut arguments = Self { name: input.parse()?, fatal: false, message: None };
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            if arguments.message.is_none() && input.peek(LitStr) {
                arguments.message = Some(input.parse()?);
            } else if !arguments.fatal && input.peek(Ident::peek_any) {
                let word = input.call(Ident::parse_any)?;
                if word != "fatal" {
                    return Err(syn::Error::new(word.span(), "write `fatal`, or a message as a text"));
                }
                arguments.fatal = true;
            } else {
                return Err(
                    input.error("a failure has a stored name, `fatal` if no retry may follow, and a message")
                );
            }
        }
        Ok(arguments)
    }
}

impl<'a> NamedVariant<'a> {
    fn new(variant: &'a Variant) -> syn::Result<Self> {
        let mut found = variant.attrs.iter().filter(|attribute| attribute.path().is_ident("failure"));
        let Some(attribute) = found.next() else {
            let problem = format!(
                "the variant has no stored name: write `#[failure(\"{}\", \"message\")]` above it; open runs refer to the name, \
                 so that the variant can be renamed later",
                stored_name::suggested(&variant.ident)
            );
            return Err(syn::Error::new_spanned(&variant.ident, problem));
        };
        if let Some(second) = found.next() {
            return Err(syn::Error::new_spanned(second, "a failure has one stored name"));
        }
        let Arguments { name, fatal, message } = attribute.parse_args()?;
        stored_name::check("a failure", &name)?;
        check_fields(&variant.fields)?;
        let message = message.unwrap_or_else(|| {
            let text = name.value().replace('{', "{{").replace('}', "}}");
            LitStr::new(&text, name.span())
        });
        Ok(Self { variant, name, fatal, message })
    }

    /// The fields by the names that they have in patterns: their own, or `_0`, `_1`, …
    fn bindings(&self) -> Vec<Ident> {
        let name = |(index, field): (usize, &syn::Field)| {
            field.ident.clone().unwrap_or_else(|| format_ident!("_{index}"))
        };
        self.variant.fields.iter().enumerate().map(name).collect()
    }

    /// The arm of `Display`.
    fn display(&self) -> syn::Result<TokenStream> {
        let variant = &self.variant.ident;
        let Message { format, fields } = Message::parse(&self.message.value());
        let bindings = self.bindings();
        let is_used = |binding: &&Ident| fields.contains(&binding.unraw().to_string());
        let used: Vec<_> = bindings.iter().filter(is_used).collect();
        if let Some(unknown) =
            fields.iter().find(|name| !used.iter().any(|used| used.unraw() == name.as_str()))
        {
            let problem =
                format!("the variant `{variant}` has no field `{}`", unknown.trim_start_matches('_'));
            return Err(syn::Error::new(self.message.span(), problem));
        }
        let format = LitStr::new(&format, self.message.span());
        let pattern = match &self.variant.fields {
            Fields::Unnamed(_) => {
                let fields =
                    bindings.iter().map(|name| if used.contains(&name) { quote!(#name) } else { quote!(_) });
                quote!((#(#fields),*))
            }
            Fields::Named(_) => quote!({ #(#used,)* .. }),
            Fields::Unit => TokenStream::new(),
        };
        let names = used.iter().map(|name| name.unraw());
        Ok(quote! { Self::#variant #pattern => ::core::write!(f, #format #(, #names = #used)*) })
    }
}

/// Refuses what an array of fields cannot have.
fn check_fields(fields: &Fields) -> syn::Result<()> {
    let Fields::Unnamed(fields) = fields else { return Ok(()) };
    if let Some(surplus) = fields.unnamed.iter().nth(FIELDS_MAX) {
        let problem = format!("more than {FIELDS_MAX} fields need names: write `{{ name: Type, … }}`");
        return Err(syn::Error::new_spanned(surplus, problem));
    }
    let mut attributes = fields.unnamed.iter().flat_map(|field| &field.attrs);
    match attributes.find(|attribute| attribute.path().is_ident("serde")) {
        Some(attribute) => {
            let problem = "attributes of serde work on fields with names: write `{ name: Type }`";
            Err(syn::Error::new_spanned(attribute, problem))
        }
        None => Ok(()),
    }
}

/// Two variants of one name could not be told apart when they are read.
fn check_unique(failures: &[NamedVariant<'_>]) -> syn::Result<()> {
    for (index, failure) in failures.iter().enumerate() {
        let name = failure.name.value();
        if failures[..index].iter().any(|earlier| earlier.name.value() == name) {
            let problem = format!("two variants have the stored name `{name}`; name each differently");
            return Err(syn::Error::new(failure.name.span(), problem));
        }
    }
    Ok(())
}

/// All that is derived. The types of named fields are private to a constant without a name.
fn implementations(item: &ItemEnum, krate: &Path, failures: &[NamedVariant<'_>]) -> syn::Result<TokenStream> {
    let ident = &item.ident;
    let names = failures.iter().map(|failure| &failure.name);
    let display = failures.iter().map(NamedVariant::display).collect::<syn::Result<Vec<_>>>()?;
    let details: Vec<_> = failures.iter().map(|failure| Details::new(failure, krate)).collect();
    let types = details.iter().map(|details| &details.item);
    let written = details.iter().map(|details| &details.write);
    let read = details.iter().map(|details| &details.read);
    Ok(quote! {
        const _: () = {
            #(#types)*

            #[automatically_derived]
            impl ::core::fmt::Display for #ident {
                fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    match self { #(#display,)* }
                }
            }

            #[automatically_derived]
            impl #krate::error::TypedFailure for #ident {
                const NAMES: &'static [&'static str] = &[#(#names),*];

                fn into_failure(self) -> #krate::error::Failure {
                    let message = ::std::string::ToString::to_string(&self);
                    match self { #(#written,)* }
                }

                fn from_failure(
                    failure: &#krate::error::Failure,
                ) -> ::core::option::Option<::core::result::Result<Self, #krate::payload::PayloadError>> {
                    ::core::option::Option::Some(match failure.type_name.as_str() {
                        #(#read,)*
                        _ => return ::core::option::Option::None,
                    })
                }
            }

            #[automatically_derived]
            impl ::core::convert::From<#ident> for #krate::activity::ActivityError {
                fn from(failure: #ident) -> Self {
                    Self::of(failure)
                }
            }

            #[automatically_derived]
            impl ::core::convert::From<#ident> for #krate::workflow::WorkflowError {
                fn from(failure: #ident) -> Self {
                    Self::of(failure)
                }
            }
        };
    })
}

/// How the fields of a variant are written to the details of a failure, and read from them.
struct Details {
    /// The type of named fields: a map, with the attributes of serde that the fields have.
    item: TokenStream,
    /// The arm that makes the failure.
    write: TokenStream,
    /// The arm that reads the variant.
    read: TokenStream,
}

impl Details {
    fn new(failure: &NamedVariant<'_>, krate: &Path) -> Self {
        let NamedVariant { variant, name, fatal, .. } = failure;
        let (ident, bindings) = (&variant.ident, failure.bindings());
        let fatal = fatal.then(|| quote!(.non_retryable()));
        let made = quote!(#krate::error::Failure::new(#name, message) #fatal);
        let types = variant.fields.iter().map(|field| &field.ty);
        match &variant.fields {
            Fields::Named(fields) if !fields.named.is_empty() => {
                let details = format_ident!("DetailsOf{}", ident.unraw());
                let serde = quote!(#krate::serde).to_string().replace(' ', "");
                let attributes = fields.named.iter().map(|field| {
                    let of_serde = field.attrs.iter().filter(|attribute| attribute.path().is_ident("serde"));
                    quote!(#(#of_serde)*)
                });
                Self {
                    item: quote! {
                        #[derive(#krate::serde::Serialize, #krate::serde::Deserialize)]
                        #[serde(crate = #serde)]
                        struct #details { #(#attributes #bindings: #types,)* }
                    },
                    write: quote! {
                        Self::#ident { #(#bindings),* } => #made.with_details(&#details { #(#bindings),* })
                    },
                    read: quote! {
                        #name => failure.read_details().map(|#details { #(#bindings),* }| Self::#ident { #(#bindings),* })
                    },
                }
            }
            Fields::Unnamed(fields) if !fields.unnamed.is_empty() => Self {
                item: TokenStream::new(),
                write: quote! {
                    Self::#ident(#(#bindings),*) => {
                        #made.with_details(&#krate::payload::Positional((#(#bindings,)*)))
                    }
                },
                read: quote! {
                    #name => failure
                        .read_details::<#krate::payload::Positional<(#(#types,)*)>>()
                        .map(|#krate::payload::Positional((#(#bindings,)*))| Self::#ident(#(#bindings),*))
                },
            },
            Fields::Named(_) | Fields::Unnamed(_) | Fields::Unit => Self {
                item: TokenStream::new(),
                write: quote!(Self::#ident { .. } => #made),
                read: quote!(#name => ::core::result::Result::Ok(Self::#ident {})),
            },
        }
    }
}
