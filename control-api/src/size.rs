//! Amounts of memory as people write them: `512M`, `4G`, `65536`.

/// A text that is not an amount of memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an amount of memory (a number of bytes, or one with K, M, G or T: 512M, 4G)")]
pub struct SizeError(String);

const UNITS: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

/// Bytes; the units are powers of 1024 and may be followed by `iB` or `B`.
///
/// # Errors
/// [`SizeError`] if it is not an amount, or does not fit in 64 bits.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let wrong = || SizeError(text.chars().take(64).collect());
    let upper = text.trim().to_ascii_uppercase();
    let short = upper.strip_suffix("IB").or_else(|| upper.strip_suffix('B')).unwrap_or(&upper);
    let (digits, shift) = UNITS
        .iter()
        .find_map(|&(unit, shift)| short.strip_suffix(unit).map(|digits| (digits, shift)))
        .unwrap_or((short, 0));
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// The shortest exact form with a unit (`16G`, `1536M`), as [`parse`] reads it.
#[must_use]
pub fn exact(bytes: u64) -> String {
    for (unit, shift) in UNITS {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// For tables: three significant digits and a unit (`12.3 MB` would be decimal, so it says `MiB`).
#[must_use]
pub fn rounded(bytes: u64) -> String {
    for (unit, shift) in UNITS {
        let whole = bytes >> shift;
        if whole > 0 {
            let exact = bytes as f64 / (1_u64 << shift) as f64;
            let digits = if whole < 10 { 2 } else { usize::from(whole < 100) };
            return format!("{exact:.digits$} {unit}iB");
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_round_trip() {
        for (text, bytes) in
            [("0", 0), ("512M", 512 << 20), ("4G", 4 << 30), ("1k", 1024), ("2MiB", 2 << 20), ("7", 7)]
        {
            assert_eq!(parse(text), Ok(bytes), "{text}");
            assert_eq!(parse(&exact(bytes)), Ok(bytes));
        }
        for wrong in ["", "G", "-1", "1.5G", "4Q", "0x10", "99999999999T"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(exact(1536 << 20), "1536M");
        assert_eq!(rounded(12 << 20), "12.0 MiB");
        assert_eq!(rounded(999), "999 B");
    }
}
