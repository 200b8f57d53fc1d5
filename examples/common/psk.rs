//! Pre-shared keys on the command line.

use openssl_dtls::Psk;

/// Parses `ID:HEX`, an identity and a key in hexadecimal digits. The identity may contain colons.
pub(crate) fn parse(given: &str) -> Result<Psk, String> {
    let (identity, key) = given
        .rsplit_once(':')
        .ok_or("expected ID:HEX, an identity and a key")?;
    // The key itself is not repeated in any message.
    let key = hex::decode(key).map_err(|_| "the key must be pairs of hexadecimal digits")?;
    Psk::new(identity.as_bytes(), &key).map_err(|error| error.to_string())
}
