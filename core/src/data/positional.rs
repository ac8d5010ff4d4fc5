//! Values by position: the arguments of a call, and the fields of a failure that have no names. They are one array, which
//! may grow at its end. They must not know what they are the values of.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::UnitDeserializer;
use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A tuple of up to eight values that is stored as one array, even if it has no value or a single one.
///
/// Elements that are missing at the end are read as null. So an `Option` may be added to the end of a tuple, and what was
/// stored before can still be read:
///
/// ```
/// use pgworkflows::payload::{Payload, Positional};
///
/// let stored = Payload::encode(&Positional(("Acme".to_owned(),)))?;
/// let Positional((customer, discount)) = stored.decode::<Positional<(String, Option<u32>)>>()?;
/// assert_eq!((customer.as_str(), discount), ("Acme", None));
///
/// let error = stored.decode::<Positional<(String, u32)>>().unwrap_err();
/// assert!(error.to_string().contains("element 2 is missing: there is 1, and 2 are expected"));
/// # Ok::<(), pgworkflows::payload::PayloadError>(())
/// ```
///
/// # Errors
/// Cannot be read from an array with more elements than the tuple has, nor from one that lacks an element whose type
/// cannot be read from null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positional<T>(
    /// The tuple.
    pub T,
);

/// What may be passed where a call takes the arguments `T`, a tuple: that tuple, or the value itself if there is only
/// one.
///
/// ```
/// use pgworkflows::activity::Arguments;
/// use pgworkflows::payload::Positional;
///
/// let of_one: Positional<(u64,)> = 500.into_positional();
/// assert_eq!(of_one, (500,).into_positional());
/// let of_two: Positional<(String, u64)> = ("p-1".to_owned(), 500).into_positional();
/// assert_eq!(of_two.0.1, 500);
/// ```
///
/// Other arguments are refused by the compiler:
///
/// ```compile_fail,E0277
/// # use pgworkflows::activity::ActivityDef;
/// # use pgworkflows::prelude::*;
/// const CHARGE: ActivityDef<(String, u64), ()> = ActivityDef::new("charge");
///
/// async fn pay(ctx: Context) -> WorkflowResult<()> {
///     ctx.call(CHARGE, "p-1".to_owned()).await
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "the activity takes other arguments: a `{T}`",
    label = "not a `{T}`",
    note = "pass all arguments as one tuple; a single argument needs none"
)]
pub trait Arguments<T> {
    /// The tuple of the arguments.
    fn into_positional(self) -> Positional<T>;
}

impl<A> Arguments<(A,)> for A {
    fn into_positional(self) -> Positional<(A,)> {
        Positional((self,))
    }
}

impl Arguments<()> for () {
    fn into_positional(self) -> Positional<()> {
        Positional(())
    }
}

macro_rules! arguments {
    ($($element:ident),+) => {
        impl<$($element),+> Arguments<($($element,)+)> for ($($element,)+) {
            fn into_positional(self) -> Positional<Self> {
                Positional(self)
            }
        }
    };
}

arguments!(A);
arguments!(A, B);
arguments!(A, B, C);
arguments!(A, B, C, D);
arguments!(A, B, C, D, E);
arguments!(A, B, C, D, E, F);
arguments!(A, B, C, D, E, F, G);
arguments!(A, B, C, D, E, F, G, H);

macro_rules! positional {
    ($count:literal: $($element:ident $field:ident $index:tt),+) => {
        impl<$($element: Serialize),+> Serialize for Positional<($($element,)+)> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let Self(($($field,)+)) = self;
                let mut array = serializer.serialize_tuple($count)?;
                $(array.serialize_element($field)?;)+
                array.end()
            }
        }

        impl<'de, $($element: Deserialize<'de>),+> Deserialize<'de> for Positional<($($element,)+)> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Elements<T>(PhantomData<T>);

                impl<'de, $($element: Deserialize<'de>),+> Visitor<'de> for Elements<($($element,)+)> {
                    type Value = ($($element,)+);

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "an array of {} elements", $count)
                    }

                    fn visit_seq<S: SeqAccess<'de>>(self, mut elements: S) -> Result<Self::Value, S::Error> {
                        $(let $field = element(&mut elements, $index, $count)?;)+
                        end(elements, $count)?;
                        Ok(($($field,)+))
                    }
                }

                deserializer.deserialize_seq(Elements(PhantomData)).map(Self)
            }
        }
    };
}

/// Reads the element at `index`, which is null if the array has ended.
fn element<'de, T: Deserialize<'de>, S: SeqAccess<'de>>(
    elements: &mut S,
    index: usize,
    expected: usize,
) -> Result<T, S::Error> {
    if let Some(value) = elements.next_element()? {
        return Ok(value);
    }
    T::deserialize(UnitDeserializer::<S::Error>::new()).map_err(|_| {
        let verb = if index == 1 { "is" } else { "are" };
        let number = index + 1;
        S::Error::custom(format!(
            "element {number} is missing: there {verb} {index}, and {expected} are expected"
        ))
    })
}

/// Refuses elements that the tuple does not have: they would be lost.
fn end<'de, S: SeqAccess<'de>>(mut elements: S, expected: usize) -> Result<(), S::Error> {
    let mut found = expected;
    while elements.next_element::<IgnoredAny>()?.is_some() {
        found += 1;
    }
    if found == expected {
        return Ok(());
    }
    Err(S::Error::custom(format!("there are {found} elements, and {expected} are expected")))
}

impl Serialize for Positional<()> {
    /// An empty array: serde's unit would be null.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_tuple(0)?.end()
    }
}

impl<'de> Deserialize<'de> for Positional<()> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Nothing;

        impl<'de> Visitor<'de> for Nothing {
            type Value = ();

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an empty array")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, elements: S) -> Result<(), S::Error> {
                end(elements, 0)
            }
        }

        deserializer.deserialize_seq(Nothing).map(Self)
    }
}

positional!(1usize: T1 a 0);
positional!(2usize: T1 a 0, T2 b 1);
positional!(3usize: T1 a 0, T2 b 1, T3 c 2);
positional!(4usize: T1 a 0, T2 b 1, T3 c 2, T4 d 3);
positional!(5usize: T1 a 0, T2 b 1, T3 c 2, T4 d 3, T5 e 4);
positional!(6usize: T1 a 0, T2 b 1, T3 c 2, T4 d 3, T5 e 4, T6 f 5);
positional!(7usize: T1 a 0, T2 b 1, T3 c 2, T4 d 3, T5 e 4, T6 f 5, T7 g 6);
positional!(8usize: T1 a 0, T2 b 1, T3 c 2, T4 d 3, T5 e 4, T6 f 5, T7 g 6, T8 h 7);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::payload::Payload;

    fn stored(json: &str) -> Payload {
        Payload::from_json(json).unwrap()
    }

    #[test]
    fn every_tuple_is_one_array_even_without_elements() {
        let json = |payload: Payload| payload.to_json().unwrap().to_string();
        assert_eq!(json(Payload::encode(&Positional(())).unwrap()), "[]");
        assert_eq!(json(Payload::encode(&Positional((7,))).unwrap()), "[7]");
        assert_eq!(
            json(Payload::encode(&Positional(((), [1, 2], None::<u8>))).unwrap()),
            "[null,[1,2],null]"
        );
    }

    #[test]
    fn tuples_are_read_back_from_either_encoding() {
        let eight = Positional((1u8, "two".to_owned(), [3.5], Some(4u64), (), true, -7i64, vec![8u8]));
        let payload = Payload::encode_readable(&eight).unwrap();
        assert_eq!(payload.decode::<Positional<_>>().unwrap(), eight);
        let json = stored(&payload.to_json().unwrap().to_string());
        assert_eq!(json.decode::<Positional<_>>().unwrap(), eight);
        assert_eq!(stored("[]").decode::<Positional<()>>().unwrap(), Positional(()));
    }

    #[test]
    fn missing_elements_at_the_end_are_null() {
        for payload in [Payload::encode(&Positional((1,))).unwrap(), stored("[1]")] {
            let read: Positional<(u8, Option<String>, ())> = payload.decode().unwrap();
            assert_eq!(read, Positional((1, None, ())));
            let problem = payload.decode::<Positional<(u8, u8, u8)>>().unwrap_err().to_string();
            assert!(problem.contains("element 2 is missing: there is 1, and 3 are expected"), "{problem}");
        }
    }

    #[test]
    fn surplus_elements_are_refused_with_both_numbers() {
        for payload in [Payload::encode(&Positional((1, 2, 3))).unwrap(), stored("[1, 2, 3]")] {
            let problem = payload.decode::<Positional<(u8,)>>().unwrap_err().to_string();
            assert!(problem.contains("there are 3 elements, and 1 are expected"), "{problem}");
            assert!(payload.decode::<Positional<()>>().is_err());
        }
    }

    #[test]
    fn element_of_another_type_is_named_by_its_place() {
        let problem = stored("[1, true]").decode::<Positional<(u8, String)>>().unwrap_err().to_string();
        assert!(problem.contains("`[1]`: ") && problem.contains("boolean"), "{problem}");
        assert!(stored("null").decode::<Positional<()>>().is_err());
    }
}
