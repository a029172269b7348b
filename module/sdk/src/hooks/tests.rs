//! The hooks as Envoy sees them, called through their exported symbols.

#![allow(unsafe_code, reason = "calls what C would call")]

use std::any::Any;
use std::cell::Cell;
use std::ffi::{CStr, c_void};

use crate::abi::*;
use crate::fake_envoy::{SentResponse, with};
use crate::*;

/// Envoy's pointers, which the fake never looks at.
const ENVOY: *mut c_void = std::ptr::null_mut();

unsafe extern "C" {
    fn envoy_dynamic_module_on_http_filter_config_new(
        envoy_config: *mut c_void,
        name: envoy_dynamic_module_type_envoy_buffer,
        config: envoy_dynamic_module_type_envoy_buffer,
    ) -> *const c_void;
    fn envoy_dynamic_module_on_http_filter_config_destroy(config: *const c_void);
    fn envoy_dynamic_module_on_http_filter_per_route_config_new(
        name: envoy_dynamic_module_type_envoy_buffer,
        config: envoy_dynamic_module_type_envoy_buffer,
    ) -> *const c_void;
    fn envoy_dynamic_module_on_http_filter_per_route_config_destroy(config: *const c_void);
    fn envoy_dynamic_module_on_http_filter_new(
        config: *const c_void,
        envoy: *mut c_void,
    ) -> *const c_void;
    fn envoy_dynamic_module_on_http_filter_destroy(filter: *const c_void);
    fn envoy_dynamic_module_on_http_filter_request_headers(
        envoy: *mut c_void,
        filter: *const c_void,
        end_of_stream: bool,
    ) -> u32;
    fn envoy_dynamic_module_on_http_filter_response_headers(
        envoy: *mut c_void,
        filter: *const c_void,
        end_of_stream: bool,
    ) -> u32;
    fn envoy_dynamic_module_on_http_filter_stream_complete(
        envoy: *mut c_void,
        filter: *const c_void,
    );
}

declare_init_functions!(init, new_filter_config, new_route_config);

fn init() -> bool {
    true
}

fn new_filter_config<EC: EnvoyHttpFilterConfig, EHF: EnvoyHttpFilter>(
    envoy: &mut EC,
    name: &str,
    config: &[u8],
) -> Option<Box<dyn HttpFilterConfig<EHF>>> {
    assert_ne!(name, "panics", "a panic for the test");
    let calls = envoy.define_counter("calls").ok()?;
    (config != b"bad").then(|| -> Box<dyn HttpFilterConfig<EHF>> { Box::new(Config { calls }) })
}

fn new_route_config(_name: &str, config: &[u8]) -> Option<Box<dyn Any>> {
    (config != b"bad").then(|| -> Box<dyn Any> { Box::new(config.to_vec()) })
}

struct Config {
    calls: EnvoyCounterId,
}

impl<EHF: EnvoyHttpFilter> HttpFilterConfig<EHF> for Config {
    fn new_http_filter(&self, _envoy: &mut EHF) -> Box<dyn HttpFilter<EHF>> {
        Box::new(Filter { calls: self.calls })
    }
}

thread_local! {
    /// Streams of this thread that said they were complete.
    static COMPLETED: Cell<u32> = const { Cell::new(0) };
    /// The filter under test, for what Envoy calls while a local reply is sent.
    static FILTER: Cell<*const c_void> = const { Cell::new(std::ptr::null()) };
}

struct Filter {
    calls: EnvoyCounterId,
}

impl<EHF: EnvoyHttpFilter> HttpFilter<EHF> for Filter {
    fn on_request_headers(
        &mut self,
        envoy: &mut EHF,
        _end_of_stream: bool,
    ) -> envoy_dynamic_module_type_on_http_filter_request_headers_status {
        use envoy_dynamic_module_type_on_http_filter_request_headers_status as Status;
        envoy.increment_counter(self.calls, 2).unwrap();
        let route = envoy.get_most_specific_route_config();
        let route = route
            .as_deref()
            .and_then(|route| route.downcast_ref::<Vec<u8>>());
        if let Some(route) = route {
            envoy.send_response(299, &[("x-route", route)], None, None);
            return Status::StopIteration;
        }
        let answer = envoy
            .get_request_header_value("x-answer")
            .map(|it| it.as_slice().to_vec());
        match answer.as_deref() {
            Some(b"panic") => panic!("a panic for the test"),
            Some(value) => {
                envoy.add_custom_flag("RL");
                envoy.set_dynamic_metadata_string("space", "key", "value");
                envoy.send_response(429, &[("x-why", value)], Some(b"no"), Some("because"));
                Status::StopIteration
            }
            None => Status::Continue,
        }
    }

    fn on_response_headers(
        &mut self,
        envoy: &mut EHF,
        _end_of_stream: bool,
    ) -> envoy_dynamic_module_type_on_http_filter_response_headers_status {
        let from = envoy
            .get_attribute_string(envoy_dynamic_module_type_attribute_id::SourceAddress)
            .map(|address| address.as_slice().to_vec());
        let many: Vec<u8> = envoy
            .get_request_header_values("x-many")
            .iter()
            .flat_map(|value| value.as_slice().to_vec())
            .collect();
        assert!(envoy.add_response_header("x-many", &many));
        assert!(envoy.add_response_header("x-from", &from.unwrap_or_default()));
        envoy_dynamic_module_type_on_http_filter_response_headers_status::Continue
    }

    fn on_stream_complete(&mut self, _envoy: &mut EHF) {
        COMPLETED.set(COMPLETED.get() + 1);
    }
}

fn buffer(text: &'static str) -> envoy_dynamic_module_type_envoy_buffer {
    envoy_dynamic_module_type_envoy_buffer {
        ptr: text.as_ptr().cast(),
        length: text.len(),
    }
}

fn new_config(name: &'static str, config: &'static str) -> *const c_void {
    envoy_dynamic_module_on_program_init();
    // SAFETY: both buffers are constants.
    unsafe { envoy_dynamic_module_on_http_filter_config_new(ENVOY, buffer(name), buffer(config)) }
}

fn request_headers(filter: *const c_void) -> u32 {
    // SAFETY: a filter of this thread.
    unsafe { envoy_dynamic_module_on_http_filter_request_headers(ENVOY, filter, true) }
}

fn stream_complete(filter: *const c_void) {
    // SAFETY: a filter of this thread.
    unsafe { envoy_dynamic_module_on_http_filter_stream_complete(ENVOY, filter) };
}

/// Runs a test against one stream's filter, then takes everything down as Envoy does.
fn with_filter(test: impl FnOnce(*const c_void)) {
    let config = new_config("filter", "good");
    assert!(!config.is_null());
    // SAFETY: the configuration was just made.
    let filter = unsafe { envoy_dynamic_module_on_http_filter_new(config, ENVOY) };
    assert!(!filter.is_null());
    test(filter);
    // SAFETY: made above, no longer used.
    unsafe { envoy_dynamic_module_on_http_filter_destroy(filter) };
    // SAFETY: as above.
    unsafe { envoy_dynamic_module_on_http_filter_config_destroy(config) };
}

#[test]
fn a_loaded_module_reports_the_version_of_the_interface() {
    let version = envoy_dynamic_module_on_program_init();
    // SAFETY: a C string constant.
    assert_eq!(unsafe { CStr::from_ptr(version) }, c"v0.2.0");
}

#[test]
fn a_configuration_the_module_refuses_is_null() {
    assert!(new_config("filter", "bad").is_null());
}

#[test]
fn a_configuration_that_panics_is_refused() {
    assert!(new_config("panics", "").is_null());
}

#[test]
fn counters_cannot_be_defined_once_stats_are_frozen() {
    with(|envoy| envoy.frozen = true);
    assert!(new_config("filter", "good").is_null());
}

#[test]
fn a_filter_reads_headers_answers_and_counts() {
    with_filter(|filter| {
        assert_eq!(request_headers(filter), 0);
        with(|envoy| envoy.request_headers = vec![("x-answer", b"ten"), ("x-answer", b"eleven")]);
        assert_eq!(request_headers(filter), 1);
    });
    with(|envoy| {
        assert_eq!(envoy.counters, [("calls".to_owned(), 4)]);
        assert_eq!(envoy.flags, ["RL"]);
        assert_eq!(
            envoy.metadata,
            [["space", "key", "value"].map(str::to_owned)]
        );
        assert_eq!(
            envoy.responses,
            [SentResponse {
                status_code: 429,
                headers: vec![(b"x-why".to_vec(), b"ten".to_vec())],
                body: Some(b"no".to_vec()),
                details: Some(b"because".to_vec()),
            }]
        );
    });
}

#[test]
fn a_filter_adds_to_the_response() {
    with(|envoy| {
        envoy.request_headers = vec![("x-many", b"a"), ("x-other", b"b"), ("x-many", b"c")];
        envoy.source_address = Some("192.0.2.1:80");
    });
    with_filter(|filter| {
        // SAFETY: a filter of this thread.
        let status =
            unsafe { envoy_dynamic_module_on_http_filter_response_headers(ENVOY, filter, true) };
        assert_eq!(status, 0);
    });
    with(|envoy| {
        let added = [("x-many", "ac"), ("x-from", "192.0.2.1:80")];
        let added = added.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
        assert_eq!(envoy.response_headers, added);
    });
}

#[test]
fn a_panic_lets_the_request_go_on() {
    with_filter(|filter| {
        with(|envoy| envoy.request_headers = vec![("x-answer", b"panic")]);
        assert_eq!(request_headers(filter), 0);
        with(|envoy| envoy.request_headers.clear());
        assert_eq!(
            request_headers(filter),
            0,
            "the filter is usable after a panic"
        );
    });
}

#[test]
fn a_filter_is_left_alone_while_it_sends_a_reply() {
    with_filter(|filter| {
        FILTER.set(filter);
        with(|envoy| {
            envoy.request_headers = vec![("x-answer", b"no")];
            envoy.while_replying = Some(|| stream_complete(FILTER.get()));
        });
        assert_eq!(request_headers(filter), 1);
        assert_eq!(COMPLETED.get(), 0);
        stream_complete(filter);
        assert_eq!(COMPLETED.get(), 1);
    });
}

#[test]
fn a_routes_own_configuration_is_found() {
    envoy_dynamic_module_on_program_init();
    // SAFETY: both buffers are constants.
    let route = unsafe {
        envoy_dynamic_module_on_http_filter_per_route_config_new(buffer("route"), buffer("mine"))
    };
    assert!(!route.is_null());
    with(|envoy| envoy.route_config = Some(route));
    with_filter(|filter| assert_eq!(request_headers(filter), 1));
    // SAFETY: made above, no longer used.
    unsafe { envoy_dynamic_module_on_http_filter_per_route_config_destroy(route) };
    with(|envoy| {
        assert_eq!(
            envoy.responses[0].headers,
            [(b"x-route".to_vec(), b"mine".to_vec())]
        );
        assert_eq!(envoy.responses[0].body, None);
    });
}

#[test]
fn a_routes_configuration_the_module_refuses_is_null() {
    envoy_dynamic_module_on_program_init();
    // SAFETY: both buffers are constants.
    let route = unsafe {
        envoy_dynamic_module_on_http_filter_per_route_config_new(buffer("route"), buffer("bad"))
    };
    assert!(route.is_null());
}

#[test]
fn a_null_filter_is_passed_over() {
    assert_eq!(request_headers(std::ptr::null()), 0);
    stream_complete(std::ptr::null());
}
