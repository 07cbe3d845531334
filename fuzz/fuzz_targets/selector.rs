//! A selector is parsed or refused; what was parsed prints as something that parses to the same.

#![no_main]

use dockgate::selector::Selector;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Selector::parse(text) {
        Ok(selector) => assert_eq!(Selector::parse(&selector.to_string()).as_ref(), Ok(&selector)),
        Err(error) => assert!(text.is_char_boundary(error.offset), "{error:?}"),
    }
});
