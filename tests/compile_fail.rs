//! Misuse that must not compile, with what the compiler says about it.

#[test]
fn misuse_does_not_compile_and_says_why() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
