//! How a module tells this crate what it is.

use std::any::Any;
use std::sync::OnceLock;

use crate::{EnvoyHttpFilterConfigImpl, EnvoyHttpFilterImpl, HttpFilterConfig};

/// Called once, when Envoy loads the module, on its main thread. `false` makes Envoy unload it.
pub type ProgramInitFunction = fn() -> bool;

/// Called on Envoy's main thread for every HTTP filter that names the module, with the filter's name
/// and configuration. `None` makes Envoy reject the configuration.
pub type NewHttpFilterConfigFunction<EC, EHF> = fn(
    envoy_filter_config: &mut EC,
    name: &str,
    config: &[u8],
) -> Option<Box<dyn HttpFilterConfig<EHF>>>;

/// Called on Envoy's main thread for every route that configures the filter. `None` makes Envoy reject
/// the configuration. What it returns is what
/// [`EnvoyHttpFilter::get_most_specific_route_config`](crate::EnvoyHttpFilter::get_most_specific_route_config)
/// finds.
///
/// The value is read by all worker threads and dropped on any of them, so its type must be `Send` and
/// `Sync`. The signature does not say so because Envoy's own SDK does not; have the compiler check it
/// beside the type.
pub type NewHttpFilterPerRouteConfigFunction =
    fn(name: &str, config: &[u8]) -> Option<Box<dyn Any>>;

/// The module's constructor of filter configurations, set by
/// [`declare_init_functions`](crate::declare_init_functions).
pub static NEW_HTTP_FILTER_CONFIG_FUNCTION: OnceLock<
    NewHttpFilterConfigFunction<EnvoyHttpFilterConfigImpl, EnvoyHttpFilterImpl>,
> = OnceLock::new();

/// The module's constructor of per-route configurations, set by
/// [`declare_init_functions`](crate::declare_init_functions).
pub static NEW_HTTP_FILTER_PER_ROUTE_CONFIG_FUNCTION: OnceLock<
    NewHttpFilterPerRouteConfigFunction,
> = OnceLock::new();

/// Declares a module: the function Envoy calls when it loads the shared object, and through it the
/// module's own functions.
///
/// The arguments are a [`ProgramInitFunction`], a [`NewHttpFilterConfigFunction`], and optionally a
/// [`NewHttpFilterPerRouteConfigFunction`]. A module says this once.
#[macro_export]
macro_rules! declare_init_functions {
    ($init:ident, $new_http_filter_config:expr $(, $new_http_filter_per_route_config:expr)? $(,)?) => {
        #[unsafe(no_mangle)]
        extern "C" fn envoy_dynamic_module_on_program_init() -> *const ::std::ffi::c_char {
            $crate::NEW_HTTP_FILTER_CONFIG_FUNCTION.get_or_init(|| $new_http_filter_config);
            $(
                $crate::NEW_HTTP_FILTER_PER_ROUTE_CONFIG_FUNCTION
                    .get_or_init(|| $new_http_filter_per_route_config);
            )?
            let init: $crate::ProgramInitFunction = $init;
            // A panic here would abort Envoy; a module that cannot start is not loaded.
            match ::std::panic::catch_unwind(init) {
                Ok(true) => $crate::abi::ABI_VERSION.as_ptr(),
                _ => ::std::ptr::null(),
            }
        }
    };
}
