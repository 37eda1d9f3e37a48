//! Checks an outboxed function.

use syn::{Attribute, Ident, ItemFn, ReturnType, Type, Visibility};

use super::parameter::{Argument, Parameter};
use crate::errors::Errors;

/// A function that can be outboxed.
pub(super) struct Function {
    pub(super) visibility: Visibility,
    pub(super) name: Ident,
    pub(super) is_async: bool,
    pub(super) parameters: Vec<Parameter>,
    /// The type of the result; none is `()`.
    pub(super) output: Option<Type>,
    /// `#[cfg(...)]`: whether there is the function.
    pub(super) conditions: Vec<Attribute>,
}

impl Function {
    pub(super) fn read(item: &mut ItemFn, errors: &mut Errors) -> Option<Self> {
        let signature = &mut item.sig;
        let is_async = signature.asyncness.is_some();
        let refused = [
            signature.constness.map(|word| (word.span, "const")),
            signature.unsafety.map(|word| (word.span, "unsafe")),
            signature
                .abi
                .as_ref()
                .map(|abi| (abi.extern_token.span, "extern")),
        ];
        for (span, word) in refused.into_iter().flatten() {
            errors.at(
                span,
                format!("an outboxed function is a `fn` or an `async fn`: remove `{word}`"),
            );
        }
        let generics = &signature.generics;
        if !generics.params.is_empty() || generics.where_clause.is_some() {
            let reason = "a generic function cannot be outboxed: its types are not stored";
            match &generics.where_clause {
                Some(bounds) if generics.params.is_empty() => errors.on(bounds, reason),
                _ => errors.on(&generics.params, reason),
            }
        }
        if let Some(variadic) = &signature.variadic {
            errors.on(
                variadic,
                "the parameters of an outboxed function have names",
            );
        }
        let mut parameters = Vec::new();
        for (place, input) in signature.inputs.iter_mut().enumerate() {
            let parameter = Parameter::read(input, place == 0, errors);
            if let (Some(Parameter::Connection(connection)), true) = (&parameter, is_async) {
                errors.on(
                    connection,
                    "an `async fn` cannot work in the transaction of its call, which is not held across \
                     `await`: make it a `fn`, or ask for a pool as `State<T>`",
                );
            }
            parameters.extend(parameter);
        }
        let output = match &signature.output {
            ReturnType::Default => None,
            ReturnType::Type(_, ty) => Some((**ty).clone()),
        };
        if let Some(Type::ImplTrait(output)) = &output {
            errors.on(
                output,
                "an outboxed function returns `()` or `Result<T, E>`, where `E: Into<BoxError>`",
            );
        }
        let is_condition = |attribute: &&Attribute| attribute.path().is_ident("cfg");
        Some(Self {
            visibility: item.vis.clone(),
            name: signature.ident.clone(),
            is_async,
            parameters,
            output,
            conditions: item.attrs.iter().filter(is_condition).cloned().collect(),
        })
    }

    /// The type of the connection whose transaction the function works in.
    pub(super) fn connection(&self) -> Option<&Type> {
        self.parameters.iter().find_map(|it| match it {
            Parameter::Connection(connection) => Some(connection),
            _ => None,
        })
    }

    /// The parameters that are stored.
    pub(super) fn arguments(&self) -> impl Iterator<Item = &Argument> {
        self.parameters.iter().filter_map(|it| match it {
            Parameter::Argument(argument) => Some(&**argument),
            _ => None,
        })
    }
}
