//! The setting `log_level`.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The filter of a level or a list of directives; `None` if the text is neither.
pub(crate) fn parse(level: &str) -> Option<EnvFilter> {
    // `EnvFilter` reads a misspelt level such as `inof` as the name of a module, and then logs
    // nothing: a bare word must be a level.
    let names_a_field = level.contains(['[', '{']);
    let is_bare_word = |part: &str| !part.contains('=') && part.parse::<LevelFilter>().is_err();
    if level.trim().is_empty() || (!names_a_field && level.split(',').any(is_bare_word)) {
        return None;
    }
    EnvFilter::try_new(level).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_not_a_module() {
        for good in [
            "info",
            "OFF",
            "info,diesel_outbox=debug",
            "warn,diesel_outbox[span{field=1}]=trace",
        ] {
            assert!(parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            " ",
            "inof",
            "info,diesel_outbox",
            "diesel_outbox=loud",
            "=",
            "a[=",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
