//! Making something of its settings.

use super::problem::ConfigError;
use super::reader::Reader;
use super::setting::Setting;
use super::sources::Sources;

/// What is made of settings. Tuples are made of those of their members.
pub trait FromSettings: Sized {
    /// Whether `setting` is among them.
    fn uses(setting: &Setting) -> bool;

    /// Reads them all, so that every problem is found; nothing if there is one.
    fn read(reader: &mut Reader<'_>) -> Option<Self>;
}

/// Makes `T` of its settings. Others are not read, nor the files that they name.
///
/// # Errors
/// [`ConfigError`] with every problem there is: missing, malformed, contradictory and unknown settings.
pub fn load<T: FromSettings>(sources: &Sources<'_>) -> Result<T, ConfigError> {
    let mut reader = Reader::new(sources, T::uses);
    let value = T::read(&mut reader);
    reader.finish(value)
}

/// Makes a struct of fields that are options: all of them are evaluated, and so read, before it is seen whether one is
/// missing.
#[macro_export]
macro_rules! read_fields {
    ($type:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        $(let $field = $value;)*
        Some($type { $($field: $field?),* })
    }};
}

macro_rules! tuples {
    ($($($member:ident)+;)+) => {$(
        impl<$($member: FromSettings),+> FromSettings for ($($member,)+) {
            fn uses(setting: &Setting) -> bool {
                $($member::uses(setting))||+
            }

            #[allow(non_snake_case, reason = "a value is named as its type")]
            fn read(reader: &mut Reader<'_>) -> Option<Self> {
                $(let $member = $member::read(reader);)+
                Some(($($member?,)+))
            }
        }
    )+};
}

tuples! {
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
}
