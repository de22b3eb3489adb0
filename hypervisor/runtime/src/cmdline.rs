//! The command line: words `key=value` in any order. docs/protocol.md, "Booting".

/// A word that the image does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadWord<'a>(pub &'a str);

/// The words of a command line.
pub fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_ascii_whitespace()
}

/// Splits a word at its first `=`.
pub fn pair(word: &str) -> Result<(&str, &str), BadWord<'_>> {
    word.split_once('=').ok_or(BadWord(word))
}

/// A decimal number.
pub fn decimal<'a>(word: &'a str, value: &str) -> Result<u64, BadWord<'a>> {
    // `parse` alone would take a sign.
    match value.bytes().all(|byte| byte.is_ascii_digit()) {
        true => value.parse().map_err(|_| BadWord(word)),
        false => Err(BadWord(word)),
    }
}

/// A hexadecimal number of at most 16 digits, without a prefix.
pub fn hexadecimal<'a>(word: &'a str, value: &str) -> Result<u64, BadWord<'a>> {
    match value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => u64::from_str_radix(value, 16).map_err(|_| BadWord(word)),
        false => Err(BadWord(word)),
    }
}

/// Takes off the image's path, which QEMU's multiboot loader puts before the command line.
///
/// A path may hold blanks, so it is taken to reach to the last word with a slash before the first `key=`; without a
/// slash it is the first word.
pub fn without_image_path<'a>(line: &'a str, keys: &[&str]) -> &'a str {
    let mut end = 0;
    for (index, word) in words(line).enumerate() {
        if index > 0 && keys.iter().any(|key| word.starts_with(key)) {
            break;
        }
        if index == 0 || word.contains('/') {
            // Words are slices of the line, so the difference of their addresses is the offset.
            end = word.as_ptr() as usize - line.as_ptr() as usize + word.len();
        }
    }
    line[end..].trim_ascii_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &[&str] = &["guest=", "count=", "npt="];

    #[test]
    fn words_are_split_at_blanks_and_at_the_first_equals_sign() {
        assert_eq!(words("  guest=a\tcount=2 ").collect::<Vec<_>>(), ["guest=a", "count=2"]);
        assert_eq!(pair("guest=a=b"), Ok(("guest", "a=b")));
        assert_eq!(pair("guest"), Err(BadWord("guest")));
    }

    #[test]
    fn numbers_are_decimal_and_unsigned() {
        assert_eq!(decimal("count=100000", "100000"), Ok(100_000));
        for bad in ["", "+1", "-1", "0x10", "1k", "99999999999999999999"] {
            assert_eq!(decimal("w", bad), Err(BadWord("w")), "{bad:?}");
        }
    }

    #[test]
    fn hexadecimal_numbers_have_no_prefix() {
        assert_eq!(hexadecimal("w", "fedcba9876543210"), Ok(0xfedc_ba98_7654_3210));
        for bad in ["", "+1", "0x10", "fedcba98765432100"] {
            assert_eq!(hexadecimal("w", bad), Err(BadWord("w")), "{bad:?}");
        }
    }

    #[test]
    fn the_image_path_is_taken_off() {
        for (line, rest) in [
            ("/a/hypervisor guest=hidden count=3", "guest=hidden count=3"),
            ("hypervisor guest=hidden", "guest=hidden"),
            ("/my folder/hypervisor guest=hidden", "guest=hidden"),
            ("/my folder/hypervisor oops guest=hidden", "oops guest=hidden"),
            ("/a/hypervisor guest=x /b", "guest=x /b"),
            ("/a/hypervisor ", ""),
            ("", ""),
        ] {
            assert_eq!(without_image_path(line, KEYS), rest, "{line:?}");
        }
    }
}
