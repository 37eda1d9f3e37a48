//! The types of fields that the derive accepts as ordering keys.

/// A value that can be an ordering key: a text, a number, a uuid, or an option of one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an ordering key",
    note = "use a text, an integer, a uuid or a bool, an `Option` of one, or a function that returns one: `key = path::to::function`"
)]
pub trait IntoKey {
    /// Returns the key as text; `None` means no ordering.
    fn into_key(self) -> Option<String>;
}

macro_rules! keys {
    ($($type:ty),*) => { $(
        impl IntoKey for $type {
            fn into_key(self) -> Option<String> {
                Some(self.to_string())
            }
        }
        impl IntoKey for &$type {
            fn into_key(self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )* };
}

keys!(
    String,
    i8,
    i16,
    i32,
    i64,
    i128,
    isize,
    u8,
    u16,
    u32,
    u64,
    u128,
    usize,
    bool,
    char,
    uuid::Uuid
);

impl IntoKey for &str {
    fn into_key(self) -> Option<String> {
        Some(self.to_owned())
    }
}

impl IntoKey for &&str {
    fn into_key(self) -> Option<String> {
        Some((*self).to_owned())
    }
}

impl<K: IntoKey> IntoKey for Option<K> {
    fn into_key(self) -> Option<String> {
        self.and_then(IntoKey::into_key)
    }
}

impl<'a, K> IntoKey for &'a Option<K>
where
    &'a K: IntoKey,
{
    fn into_key(self) -> Option<String> {
        self.as_ref().and_then(IntoKey::into_key)
    }
}
