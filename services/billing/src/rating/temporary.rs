//! Which of two packages prices an account: the temporary one for its months, then the main one.

/// The package that prices an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageInForce {
    /// The main package.
    Main,
    /// The temporary package.
    Temporary,
}

/// Returns the package that prices the next bill. The temporary package prices the first `months` account months that are
/// charged off after the verification that set it, and the retro bills between them; retro bills are not counted.
#[must_use]
pub fn package_in_force(months: u32, normal_charge_offs_since: u32) -> PackageInForce {
    if normal_charge_offs_since < months { PackageInForce::Temporary } else { PackageInForce::Main }
}
