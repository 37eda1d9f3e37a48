//! Parses `retry(...)`.

use std::ops::RangeInclusive;
use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Ident, Lit, LitInt, LitStr};

use crate::attr::{entries, equals};
use crate::errors::{Errors, suggestion};
use crate::literal::duration;

/// The options, which are named as the settings are, each with an example of its form.
pub(super) const OPTIONS: &[(&str, &str)] = &[
    ("attempts", "attempts = 5"),
    ("first_delay", "first_delay = \"1s\""),
    ("factor", "factor = 2"),
    ("maximum_delay", "maximum_delay = \"1h\""),
    ("jitter", "jitter = 0.2"),
    ("when_exhausted", "when_exhausted = \"park\""),
];

/// The limits of the settings.
const MOST_ATTEMPTS: u32 = 1_000_000;
const DELAYS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(365 * 24 * 3600);
const FACTORS: RangeInclusive<f64> = 1.0..=100.0;
const JITTERS: RangeInclusive<f64> = 0.0..=1.0;

/// The retry policy of a function.
#[derive(Default)]
pub(super) struct Retry {
    attempts: Option<u32>,
    first_delay: Option<Duration>,
    factor: Option<f64>,
    maximum_delay: Option<Duration>,
    place_of_maximum: Option<Span>,
    jitter: Option<f64>,
    when_exhausted: Option<WhenExhausted>,
}

#[derive(Clone, Copy)]
enum WhenExhausted {
    Block,
    Park,
}

impl Retry {
    /// Reads what is in the parentheses; `key` is the place of `retry`.
    pub(super) fn read(content: TokenStream, key: Span, errors: &mut Errors) -> Self {
        let mut retry = Self::default();
        let mut given: Vec<String> = Vec::new();
        // Errors of single values, which do not end an entry.
        let mut of_values = Errors::default();
        if content.is_empty() {
            let (names, _): (Vec<&str>, Vec<&str>) = OPTIONS.iter().copied().unzip();
            errors.at(
                key,
                format!(
                    "`retry` without options: leave it out, or give one of `{}`",
                    names.join("`, `")
                ),
            );
        }
        let parsed = |input: ParseStream<'_>| {
            entries(input, errors, |input| {
                retry.entry(input, &mut given, &mut of_values)
            });
            Ok(())
        };
        if let Err(error) = parsed.parse2(content) {
            errors.push(error);
        }
        if let (Some(first), Some(maximum), Some(place)) = (
            retry.first_delay,
            retry.maximum_delay,
            retry.place_of_maximum,
        ) && maximum < first
        {
            of_values.at(place, "`maximum_delay` is shorter than `first_delay`");
        }
        if let Err(error) = of_values.finish(Some(())) {
            errors.push(error);
        }
        retry
    }

    fn entry(
        &mut self,
        input: ParseStream<'_>,
        given: &mut Vec<String>,
        errors: &mut Errors,
    ) -> syn::Result<()> {
        let option = input.call(Ident::parse_any)?;
        let name = option.to_string();
        let Some((_, form)) = OPTIONS.iter().find(|(known, _)| *known == name) else {
            let known = OPTIONS.iter().map(|(known, _)| *known);
            let setting = name.strip_prefix("retry_").unwrap_or(&name);
            let known = suggestion(setting, "the options are", known);
            let error = format!("unknown option `{name}` of `retry`; {known}");
            return Err(syn::Error::new(option.span(), error));
        };
        if given.contains(&name) {
            let error = format!("`{name}` is given twice");
            return Err(syn::Error::new(option.span(), error));
        }
        given.push(name.clone());
        self.value(&name, input, errors)
            .map_err(|error| syn::Error::new(error.span(), format!("{error}; write `{form}`")))
    }

    fn value(
        &mut self,
        name: &str,
        input: ParseStream<'_>,
        errors: &mut Errors,
    ) -> syn::Result<()> {
        match name {
            "attempts" => {
                let value: LitInt = equals(input)?;
                match value.base10_parse() {
                    Ok(attempts) if (1..=MOST_ATTEMPTS).contains(&attempts) => {
                        self.attempts = Some(attempts);
                    }
                    _ => errors.on(value, "a number of attempts is from 1 to 1000000"),
                }
            }
            "first_delay" => self.first_delay = delay(&equals(input)?, errors),
            "maximum_delay" => {
                let value: LitStr = equals(input)?;
                self.maximum_delay = delay(&value, errors);
                self.place_of_maximum = Some(value.span());
            }
            "factor" => {
                let allowed = "a factor is a number from 1 to 100";
                self.factor = number(&equals(input)?, &FACTORS, allowed, errors);
            }
            "jitter" => {
                let allowed = "a jitter is a number from 0 to 1";
                self.jitter = number(&equals(input)?, &JITTERS, allowed, errors);
            }
            _ => {
                let value: LitStr = equals(input)?;
                self.when_exhausted = when_exhausted(&value, errors);
            }
        }
        Ok(())
    }

    /// The policy as an expression; `calls` is the path of the module.
    pub(super) fn policy(&self, calls: &TokenStream) -> TokenStream {
        let time = |name: &str, time: Option<Duration>| {
            let name = Ident::new(name, Span::call_site());
            time.map(|time| {
                let (seconds, nanoseconds) = (time.as_secs(), time.subsec_nanos());
                quote!(.#name(::core::time::Duration::new(#seconds, #nanoseconds)))
            })
        };
        let attempts = self.attempts.iter();
        let first_delay = time("first_delay", self.first_delay);
        let factor = self.factor.iter();
        let maximum_delay = time("maximum_delay", self.maximum_delay);
        let jitter = self.jitter.iter();
        let when_exhausted = self.when_exhausted.map(|what| match what {
            WhenExhausted::Block => quote!(.when_exhausted(#calls::WhenExhausted::Block)),
            WhenExhausted::Park => quote!(.when_exhausted(#calls::WhenExhausted::Park)),
        });
        quote! {
            #calls::RetryPolicy::new()
                #(.attempts(#attempts))*
                #first_delay
                #(.factor(#factor))*
                #maximum_delay
                #(.jitter(#jitter))*
                #when_exhausted
        }
    }
}

fn delay(value: &LitStr, errors: &mut Errors) -> Option<Duration> {
    let allowed = "a delay is a time from 1ms to 365 days";
    let delay = duration(value, allowed, errors)?;
    let is_allowed = DELAYS.contains(&delay);
    if !is_allowed {
        errors.on(value, allowed);
    }
    is_allowed.then_some(delay)
}

fn number(
    value: &Lit,
    allowed: &RangeInclusive<f64>,
    text: &str,
    errors: &mut Errors,
) -> Option<f64> {
    let number = match value {
        Lit::Int(value) => value.base10_parse().ok(),
        Lit::Float(value) => value.base10_parse().ok(),
        _ => None,
    };
    let number = number.filter(|number| allowed.contains(number));
    if number.is_none() {
        errors.on(value, text);
    }
    number
}

fn when_exhausted(value: &LitStr, errors: &mut Errors) -> Option<WhenExhausted> {
    match value.value().as_str() {
        "block" => Some(WhenExhausted::Block),
        "park" => Some(WhenExhausted::Park),
        other => {
            errors.on(
                value,
                format!(
                    "`{other}` is neither \"block\" (the key waits for an operator) nor \"park\" (later calls \
                     of the key continue)"
                ),
            );
            None
        }
    }
}
