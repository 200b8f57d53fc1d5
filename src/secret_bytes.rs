//! Bytes that are handed out and are secret all the same.

use std::fmt;
use std::ops::Deref;

use zeroize::Zeroizing;

/// Secret bytes: wiped when dropped, and absent from `Debug` output.
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    pub(crate) fn new(bytes: Zeroizing<Vec<u8>>) -> SecretBytes {
        SecretBytes(bytes)
    }
}

impl Deref for SecretBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for SecretBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for SecretBytes {
    /// Takes the same time wherever the bytes differ.
    fn eq(&self, other: &SecretBytes) -> bool {
        self.0.len() == other.0.len() && openssl::memcmp::eq(&self.0, &other.0)
    }
}

impl Eq for SecretBytes {}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretBytes")
            .field("len", &self.0.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_can_be_read_and_compared_but_are_not_printed() {
        let secret = |bytes: &[u8]| SecretBytes::new(Zeroizing::new(bytes.to_vec()));
        assert_eq!(&*secret(b"abc"), b"abc");
        assert_eq!(secret(b"abc"), secret(b"abc"));
        assert_ne!(secret(b"abc"), secret(b"abd"));
        assert_ne!(secret(b"abc"), secret(b"ab"));
        assert_eq!(
            format!("{:?}", secret(b"abc")),
            "SecretBytes { len: 3, .. }"
        );
    }
}
