//! The errors of the compiler for what the macros cannot expand: each says what to write instead.

#[test]
fn each_mistake_has_an_error_of_its_own() {
    trybuild::TestCases::new().compile_fail("tests/compile_errors/*.rs");
}
