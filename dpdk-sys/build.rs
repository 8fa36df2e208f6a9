//! Finds libdpdk, compiles the shim, and generates bindings for what the switch uses.
//!
//! Everything is named one by one: the generated file stays small enough to read, and a function that a
//! newer DPDK renames is a build error that says its name instead of a surprise at run time.

use std::env;
use std::path::{Path, PathBuf};
use std::process::exit;

/// Functions that DPDK exports as symbols. Inline functions live in `src/shim.c`.
const FUNCTIONS: &[&str] = &[
    "rte_dev_probe",
    "rte_eal_cleanup",
    "rte_eal_get_runtime_dir",
    "rte_eal_has_hugepages",
    "rte_eal_init",
    "rte_eth_dev_count_total",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_dev_close",
    "rte_eth_dev_get_mtu",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_is_removed",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_promiscuous_enable",
    "rte_eth_rx_queue_setup",
    "rte_eth_stats_get",
    "rte_eth_tx_done_cleanup",
    "rte_eth_tx_queue_setup",
    "rte_eth_xstats_get",
    "rte_eth_xstats_get_names",
    "rte_log_cur_msg_loglevel",
    "rte_log_set_global_level",
    "rte_malloc_get_socket_stats",
    "rte_mempool_avail_count",
    "rte_mempool_free",
    "rte_mempool_obj_iter",
    "rte_pktmbuf_free_bulk",
    "rte_pktmbuf_pool_create",
    "rte_socket_count",
    "rte_socket_id_by_idx",
    "rte_strerror",
    "rte_thread_register",
    "rte_thread_unregister",
    "rte_version",
    "shim_.*",
];

/// Types whose inside belongs to DPDK: used behind pointers only, or through the offsets of `shim.h`.
const OPAQUE: &[&str] = &["rte_mbuf.*", "rte_mempool", "rte_device", "rte_eth_rxconf", "rte_eth_txconf"];

const CONSTANTS: &[&str] = &["SHIM_.*"];

fn main() {
    for path in ["build.rs", "src/shim.c", "src/shim.h"] {
        println!("cargo::rerun-if-changed={path}");
    }
    for name in ["PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR"] {
        println!("cargo::rerun-if-env-changed={name}");
    }

    let library = match pkg_config::Config::new().atleast_version("22.11").probe("libdpdk") {
        Ok(library) => library,
        Err(why) => {
            println!("cargo::error=podswitch needs DPDK 22.11 or newer with its development files.");
            println!(
                "cargo::error=On Debian and Ubuntu: apt-get install libdpdk-dev pkg-config libclang-dev"
            );
            println!(
                "cargo::error=A DPDK built by hand is found through PKG_CONFIG_PATH. pkg-config said: {why}"
            );
            exit(1);
        }
    };
    let flags = machine_flags(&library.include_paths);
    compile_shim(&flags);
    generate(&flags);
}

/// The compiler flags DPDK's headers need: its include paths, and what the `pkg_config` crate leaves out,
/// `-march` (inline functions use the instruction set that DPDK was built for) and `-include rte_config.h`.
fn machine_flags(include_paths: &[PathBuf]) -> Vec<String> {
    let mut flags: Vec<String> = include_paths.iter().map(|path| format!("-I{}", path.display())).collect();
    let output = std::process::Command::new(env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into()))
        .args(["--cflags-only-other", "libdpdk"])
        .output()
        .expect("pkg-config has just found libdpdk");
    let text = String::from_utf8_lossy(&output.stdout);
    flags.extend(text.split_whitespace().map(str::to_owned));
    flags
}

fn compile_shim(flags: &[String]) {
    let mut build = cc::Build::new();
    build.file("src/shim.c").std("gnu11").warnings(true).flag_if_supported("-Wno-address-of-packed-member");
    for flag in flags {
        build.flag(flag);
    }
    build.opt_level(2).compile("dpdk_shim");
}

fn generate(flags: &[String]) {
    let mut builder = bindgen::Builder::default()
        .header("src/shim.h")
        .clang_args(flags)
        .use_core()
        .rust_edition(bindgen::RustEdition::Edition2024)
        .wrap_unsafe_ops(true)
        .default_enum_style(bindgen::EnumVariation::ModuleConsts)
        .formatter(bindgen::Formatter::None)
        .generate_comments(false)
        .layout_tests(true)
        .allowlist_recursively(true)
        .derive_default(true)
        .prepend_enum_name(false);
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in CONSTANTS {
        builder = builder.allowlist_var(name);
    }
    for name in OPAQUE {
        builder = builder.opaque_type(name);
    }
    let bindings = match builder.generate() {
        Ok(bindings) => bindings,
        Err(why) => {
            println!("cargo::error=bindgen could not read DPDK's headers: {why}");
            println!("cargo::error=On Debian and Ubuntu: apt-get install libclang-dev");
            exit(1);
        }
    };
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    bindings.write_to_file(Path::new(&out).join("bindings.rs")).expect("OUT_DIR is writable");
}
