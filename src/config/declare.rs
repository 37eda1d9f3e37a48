//! The macro that turns the declaration in `settings.rs` into [`Config`](super::Config), its default,
//! [`Group`](super::Group) and the list of keys.

macro_rules! settings {
    ($($(#[doc = $group_doc:literal])+ $group:ident $heading:literal { $(
        $(#[doc = $doc:literal])+
        $name:ident: $type:ty = $default:tt, $value_name:ident, $limit:ident($($argument:tt)*)
            $(, $secret:ident($($variable:literal)?))?;
    )* })*) => {
        /// The settings. [`Config::load`](Self::load) reads them as the programs do,
        /// [`Config::builder`](Self::builder) from the sources that you name. `Config::default()` with
        /// fields set by hand needs no source; then call [`validate`](Self::validate).
        ///
        /// A value `none` is `None` in code.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub struct Config {
            $($(
                $(#[doc = $doc])+
                #[doc = ""]
                #[doc = concat!(
                    "Value: ", expected!($limit $($argument)*), ". Default: ", shown_default!($default), "."
                )]
                pub $name: $type,
            )*)*
            /// The subscriptions of a `subscribe` without arguments: the tables `[[subscription]]` of the
            /// file.
            ///
            /// Default: empty.
            pub subscription: Vec<SubscriptionConfig>,
        }

        impl Default for Config {
            fn default() -> Self {
                Self {
                    $($($name: $crate::config::from_value::declared($default),)*)*
                    subscription: Vec::new(),
                }
            }
        }

        /// A group of settings: a heading in `--help`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Group {
            $($(#[doc = $group_doc])+ $group,)*
        }

        impl Group {
            /// All groups.
            pub const ALL: &'static [Self] = &[$(Self::$group),*];

            /// The heading in `--help`.
            #[must_use]
            pub fn heading(self) -> &'static str {
                match self {
                    $(Self::$group => $heading,)*
                }
            }
        }

        /// The settings, in the order of the documentation.
        pub(super) static KEYS: &[$crate::config::Key] = &[$($(
            $crate::config::Key {
                name: stringify!($name),
                default: $default,
                secret: settings!(@is_secret $($secret)?),
                group: Group::$group,
                value_name: stringify!($value_name),
                documentation: &[$($doc),+],
                expected: expected!($limit $($argument)*),
                variable: settings!(@variable $($($variable)?)?),
                secret_in_file: None,
                shape: <$type as $crate::config::from_value::FromValue>::SHAPE,
                is_optional: <$type as $crate::config::from_value::FromValue>::IS_OPTIONAL,
                read: |config, value| {
                    config.$name = $crate::config::from_value::FromValue::from_value(value)?;
                    Ok(())
                },
                check: |config| check!(&config.$name, $limit $($argument)*),
            },
            $($crate::config::key::secret_file!(
                $secret, stringify!($name), concat!(stringify!($name), "_file"), Group::$group,
                concat!("File that contains `", stringify!($name), "`."),
                settings!(@file_variable $($variable)?)
            ),)?
        )*)*];
    };
    (@is_secret secret) => { true };
    (@is_secret) => { false };
    (@variable $variable:literal) => { Some($variable) };
    (@variable) => { None };
    (@file_variable $variable:literal) => { Some(concat!($variable, "_FILE")) };
    (@file_variable) => { None };
}

/// What a value must be, as in "is not …".
macro_rules! expected {
    (whole $least:literal..=$most:literal) => {
        concat!("a whole number from ", $least, " to ", $most)
    };
    (number $least:literal..=$most:literal) => {
        concat!("a number from ", $least, " to ", $most)
    };
    (time from_1ms) => {
        "a time from 1ms to 365 days, such as 30s or 1m 30s"
    };
    (time from_1s) => {
        "a time from 1s to 365 days, such as 30s or 1m 30s"
    };
    (time from_15s) => {
        "a time from 15s to 365 days, such as 30s or 1m 30s"
    };
    (time from_0) => {
        "a time up to 365 days, such as 30s or 1m 30s"
    };
    (time from_1ms_or_0) => {
        "0, or a time from 1ms to 365 days, such as 30s or 1m 30s"
    };
    ($limit:ident $expected:literal $($function:tt)*) => {
        $expected
    };
}

/// Checks a value that has been read.
macro_rules! check {
    // Whatever can be read is allowed.
    ($value:expr, choice $expected:literal) => {{
        let _ = $value;
        Ok(())
    }};
    ($value:expr, whole $least:literal..=$most:literal) => {
        limits::Limit::check(&limits::Whole($least..=$most), $value)
    };
    ($value:expr, number $least:literal..=$most:literal) => {
        limits::Limit::check(&limits::Number($least as f64..=$most as f64), $value)
    };
    ($value:expr, time from_1ms) => {
        limits::Limit::check(&limits::FROM_1MS, $value)
    };
    ($value:expr, time from_1s) => {
        limits::Limit::check(&limits::FROM_1S, $value)
    };
    ($value:expr, time from_15s) => {
        limits::Limit::check(&limits::FROM_15S, $value)
    };
    ($value:expr, time from_0) => {
        limits::Limit::check(&limits::FROM_0, $value)
    };
    ($value:expr, time from_1ms_or_0) => {
        limits::Limit::check(&limits::FROM_1MS_OR_0, $value)
    };
    ($value:expr, text $expected:literal, $is_good:path) => {
        limits::Limit::check(&limits::Text($is_good), $value)
    };
    ($value:expr, explained $expected:literal, $check:path) => {
        limits::Limit::check(&limits::Explained($check), $value)
    };
    ($value:expr, list $expected:literal, $is_good:path) => {
        limits::Limit::check(&limits::List($is_good), $value)
    };
    ($value:expr, some $expected:literal, $is_good:path) => {
        limits::Limit::check(&limits::AtLeastOne($is_good), $value)
    };
    ($value:expr, versions $expected:literal) => {
        limits::Limit::check(&limits::Versions, $value)
    };
}

/// A default in rustdoc.
macro_rules! shown_default {
    ("") => {
        "empty"
    };
    ($default:literal) => {
        concat!("`", $default, "`")
    };
}
