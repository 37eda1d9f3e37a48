//! The parameters of an outboxed function.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Attribute, FnArg, GenericArgument, Ident, Pat, PatType, PathArguments, Type, TypeReference,
};

use crate::errors::Errors;

/// A parameter, by what is passed for it.
pub(super) enum Parameter {
    /// The connection whose transaction the function works in.
    Connection(Type),
    /// A field of the struct.
    Argument(Box<Argument>),
    /// The execution.
    CallInfo { by_reference: bool },
    /// State of the application, of this type.
    State { of: Type, by_reference: bool },
}

/// A parameter that is stored.
pub(super) struct Argument {
    pub(super) name: Ident,
    /// The type of the parameter.
    pub(super) given: Type,
    /// The field's type.
    pub(super) stored: Stored,
    /// serde's attributes and the documentation.
    pub(super) attributes: Vec<Attribute>,
}

/// How a field stores its parameter.
pub(super) enum Stored {
    /// As it is.
    AsGiven,
    /// `&str` as a `String`.
    String,
    /// `&[T]` as a `Vec<T>`.
    Vec(Type),
    /// `&T` as what owns a `T`.
    Owned(Type),
}

impl Parameter {
    /// Reads a parameter, and takes the attributes of its field from it.
    pub(super) fn read(input: &mut FnArg, is_first: bool, errors: &mut Errors) -> Option<Self> {
        let parameter = match input {
            FnArg::Typed(parameter) => parameter,
            FnArg::Receiver(receiver) => {
                errors.on(
                    receiver,
                    "a method cannot be outboxed: its `self` is not stored; write a function, and ask for \
                     what the application holds as `State<T>`",
                );
                return None;
            }
        };
        if let Type::Reference(reference) = &*parameter.ty
            && reference.mutability.is_some()
        {
            if !is_first {
                errors.on(
                    &parameter.ty,
                    "an argument cannot be borrowed mutably; a connection is the first parameter",
                );
                return None;
            }
            check_reference(reference, errors);
            return Some(Self::Connection((*reference.elem).clone()));
        }
        let (by_reference, ty) = match &*parameter.ty {
            Type::Reference(reference) => (true, &*reference.elem),
            other => (false, other),
        };
        if is_named(ty, "CallInfo") {
            return Some(Self::CallInfo { by_reference });
        }
        if let Some(of) = only_argument_of(ty, "State") {
            return Some(Self::State { of, by_reference });
        }
        let argument = Argument::read(parameter, errors)?;
        Some(Self::Argument(Box::new(argument)))
    }
}

impl Argument {
    fn read(parameter: &mut PatType, errors: &mut Errors) -> Option<Self> {
        let attributes = std::mem::take(&mut parameter.attrs);
        let (of_field, of_parameter): (Vec<_>, Vec<_>) = attributes.into_iter().partition(|it| {
            let path = it.path();
            path.is_ident("serde") || path.is_ident("doc")
        });
        for attribute in &of_parameter {
            if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
                errors.on(
                    attribute,
                    "a parameter of an outboxed function cannot depend on `cfg`: another build could not read its rows",
                );
            }
        }
        parameter.attrs = of_parameter;
        let name = match &*parameter.pat {
            Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => {
                pattern.ident.clone()
            }
            other => {
                errors.on(
                    other,
                    "a parameter of an outboxed function has a name, under which it is stored",
                );
                return None;
            }
        };
        let given = (*parameter.ty).clone();
        let stored = Stored::read(&given, errors)?;
        Some(Self {
            name,
            given,
            stored,
            attributes: of_field,
        })
    }
}

impl Stored {
    fn read(given: &Type, errors: &mut Errors) -> Option<Self> {
        let Type::Reference(reference) = given else {
            return check_owned(given, errors).then_some(Self::AsGiven);
        };
        let is_fine = check_reference(reference, errors);
        let stored = match &*reference.elem {
            ty if is_named(ty, "str") => Self::String,
            Type::Slice(slice) => Self::Vec((*slice.elem).clone()),
            ty => Self::Owned(ty.clone()),
        };
        is_fine.then_some(stored)
    }
}

/// Reports a named lifetime, or a borrow inside of the type that is referred to.
fn check_reference(reference: &TypeReference, errors: &mut Errors) -> bool {
    if let Some(lifetime) = &reference.lifetime {
        errors.on(
            lifetime,
            "an argument lives as long as the execution: leave the lifetime out",
        );
        return false;
    }
    check_owned(&reference.elem, errors)
}

/// Reports a part of a type that cannot be stored.
fn check_owned(ty: &Type, errors: &mut Errors) -> bool {
    let Some((span, what)) = unstorable(ty.to_token_stream()) else {
        return true;
    };
    errors.at(
        span,
        format!("{what} cannot be stored: write a type that owns its value, such as `String` or `Vec<T>`"),
    );
    false
}

/// The first token of a type that shows that its values cannot be stored.
fn unstorable(tokens: TokenStream) -> Option<(Span, &'static str)> {
    for token in tokens {
        let found = match token {
            TokenTree::Group(group) => unstorable(group.stream()),
            TokenTree::Punct(punct) if punct.as_char() == '&' => {
                Some((punct.span(), "a reference inside of a type"))
            }
            TokenTree::Punct(punct) if punct.as_char() == '\'' => {
                Some((punct.span(), "a borrowed value"))
            }
            TokenTree::Ident(word) if word == "impl" || word == "dyn" => {
                Some((word.span(), "a value of an unnamed type"))
            }
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Whether the last part of a path is this name.
fn is_named(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|it| it.ident == name))
}

/// The type `T` of `name<T>`.
fn only_argument_of(ty: &Type, name: &str) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|it| it.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    let mut arguments = arguments.args.iter();
    match (arguments.next(), arguments.next()) {
        (Some(GenericArgument::Type(ty)), None) => Some(ty.clone()),
        _ => None,
    }
}
