//! Places in policy files, and the names of files as text.
//!
//! Input: paths as they were given, which may hold any byte but 0. Output: text that every form of a report can hold: JSON
//! has no way to write a byte that is not UTF-8, and a terminal obeys control characters.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

/// A place in a policy file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Location {
    /// The file, as it was given (relative paths stay relative).
    #[serde(serialize_with = "serialize_file")]
    pub file: PathBuf,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Location {
    /// With control characters escaped: a place stands within a line of text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in file_name(&self.file).chars() {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        write!(f, ":{}:{}", self.line, self.column)
    }
}

/// The name of a file as text; a byte that is not UTF-8 is shown as `\xff`, so that two names do not become one.
pub fn file_name(path: &Path) -> Cow<'_, str> {
    if let Some(name) = path.to_str() {
        return Cow::Borrowed(name);
    }
    let mut name = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        name.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(name, "\\x{byte:02x}");
        }
    }
    Cow::Owned(name)
}

/// Writes the name of a file where a form holds text only.
pub fn serialize_file<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&file_name(path))
}

/// Writes the names of files where a form holds text only.
pub fn serialize_files<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| file_name(path)))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn every_name_is_text_and_stays_on_its_line() {
        for (name, text, place) in [
            (&b"a/\xc3\xbc.yaml"[..], "a/ü.yaml", "a/ü.yaml:1:2"),
            (b"a\xff\xfe.yaml", "a\\xff\\xfe.yaml", "a\\xff\\xfe.yaml:1:2"),
            (b"a\n\x1b[2J.yaml", "a\n\u{1b}[2J.yaml", "a\\n\\u{1b}[2J.yaml:1:2"),
        ] {
            let location = Location { file: PathBuf::from(OsStr::from_bytes(name)), line: 1, column: 2 };
            assert_eq!((file_name(&location.file).as_ref(), location.to_string().as_str()), (text, place));
            assert_eq!(serde_json::to_value(&location).expect("JSON")["file"], text);
        }
    }
}
