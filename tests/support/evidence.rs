//! What packets have shown, told from everything else that can end a test: a deadline, a set-up, a status.
//!
//! Input: a condition that was measured with packets. Output: a panic that says so. A scenario without its protection
//! must end by such a one; that it ended at all shows nothing.

/// How the message of a panic begins that packets were the reason of.
pub(crate) const BY_PACKETS: &str = "packets show: ";

/// How the message of a panic begins that says that nobody put back what was taken out.
pub(crate) const NOT_REPAIRED: &str = "not repaired: ";

/// How the message of a panic begins when a deadline has passed: that can be a fault, or a machine that was too busy.
pub(crate) const TOO_LATE: &str = "too late: ";

/// [`assert!`] for what was measured with packets.
macro_rules! assert_by_packets {
    ($condition:expr, $($message:tt)+) => {
        assert!($condition, "{}{}", $crate::support::evidence::BY_PACKETS, format_args!($($message)+))
    };
}

pub(crate) use assert_by_packets;
