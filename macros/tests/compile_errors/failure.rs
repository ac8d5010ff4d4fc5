//! What `Failure` cannot be derived for.

#![allow(unused, reason = "nothing here is executed")]

use pgworkflows::Failure;

#[derive(Failure)]
struct Declined(String);

#[derive(Failure)]
enum Generic<T> {
    #[failure("generic")]
    Generic(T),
}

#[derive(Failure)]
enum Never {}

#[derive(Failure)]
enum WithoutName {
    CardDeclined(String),
}

#[derive(Failure)]
enum EmptyName {
    #[failure("", "it has no name")]
    Empty,
}

#[derive(Failure)]
enum ControlCharacter {
    #[failure("two\nlines")]
    TwoLines,
}

#[derive(Failure)]
enum OneNameTwice {
    #[failure("busy")]
    Busy,
    #[failure("busy")]
    VeryBusy,
}

#[derive(Failure)]
enum TwoNames {
    #[failure("busy")]
    #[failure("very-busy")]
    Busy,
}

#[derive(Failure)]
enum MessageFirst {
    #[failure(fatal, "declined")]
    Declined,
}

#[derive(Failure)]
enum UnknownWord {
    #[failure("declined", retryable)]
    Declined,
}

#[derive(Failure)]
enum TwoMessages {
    #[failure("declined", "declined", "refused")]
    Declined,
}

#[derive(Failure)]
enum UnknownField {
    #[failure("declined", "declined: {why}")]
    Declined { reason: String },
}

#[derive(Failure)]
enum UnknownIndex {
    #[failure("over-limit", "{0} is over the limit of {1}")]
    OverLimit(u64),
}

#[derive(Failure)]
enum TooManyFields {
    #[failure("many")]
    Many(u8, u8, u8, u8, u8, u8, u8, u8, u8),
}

#[derive(Failure)]
enum SerdeWithoutName {
    #[failure("declined", "declined: {0}")]
    Declined(#[serde(default)] String),
}

#[derive(Failure)]
#[failure("charge-error")]
enum NameOfTheEnum {
    #[failure("busy")]
    Busy,
}

fn main() {}
