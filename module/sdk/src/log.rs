//! Envoy's log, under its component `dynamic_modules`.

#![allow(unsafe_code, reason = "lends text to Envoy")]

use crate::abi::{
    callbacks, envoy_dynamic_module_type_log_level, envoy_dynamic_module_type_module_buffer,
};

/// Whether a message of this level would be written.
#[inline]
pub fn enabled(level: envoy_dynamic_module_type_log_level) -> bool {
    callbacks::envoy_dynamic_module_callback_log_enabled(level)
}

/// Writes a message.
pub fn write(level: envoy_dynamic_module_type_log_level, message: &str) {
    let message = envoy_dynamic_module_type_module_buffer::of(message.as_bytes());
    // SAFETY: `message` borrows the text, which outlives the call; Envoy copies it.
    unsafe { callbacks::envoy_dynamic_module_callback_log(level, message) };
}

/// Logs at a level, as [`format!`] does; nothing is formatted when Envoy would not write it.
///
/// In a crate's own unit tests there is no Envoy: the message is formatted and dropped.
#[macro_export]
macro_rules! envoy_log {
    ($level:expr, $($argument:tt)*) => {{
        #[cfg(not(test))]
        {
            let level = $level;
            if $crate::log::enabled(level) {
                $crate::log::write(level, &::std::format!($($argument)*));
            }
        }
        #[cfg(test)]
        {
            let _ = ($level, ::std::format!($($argument)*));
        }
    }};
}

/// Logs at level trace, as [`format!`] does.
#[macro_export]
macro_rules! envoy_log_trace {
    ($($argument:tt)*) => {
        $crate::envoy_log!($crate::abi::envoy_dynamic_module_type_log_level::Trace, $($argument)*)
    };
}

/// Logs at level debug, as [`format!`] does.
#[macro_export]
macro_rules! envoy_log_debug {
    ($($argument:tt)*) => {
        $crate::envoy_log!($crate::abi::envoy_dynamic_module_type_log_level::Debug, $($argument)*)
    };
}

/// Logs at level info, as [`format!`] does.
#[macro_export]
macro_rules! envoy_log_info {
    ($($argument:tt)*) => {
        $crate::envoy_log!($crate::abi::envoy_dynamic_module_type_log_level::Info, $($argument)*)
    };
}

/// Logs at level warn, as [`format!`] does.
#[macro_export]
macro_rules! envoy_log_warn {
    ($($argument:tt)*) => {
        $crate::envoy_log!($crate::abi::envoy_dynamic_module_type_log_level::Warn, $($argument)*)
    };
}

/// Logs at level error, as [`format!`] does.
#[macro_export]
macro_rules! envoy_log_error {
    ($($argument:tt)*) => {
        $crate::envoy_log!($crate::abi::envoy_dynamic_module_type_log_level::Error, $($argument)*)
    };
}

/// Logs at level critical, as [`format!`] does.
#[macro_export]
macro_rules! envoy_log_critical {
    ($($argument:tt)*) => {
        $crate::envoy_log!(
            $crate::abi::envoy_dynamic_module_type_log_level::Critical,
            $($argument)*
        )
    };
}
