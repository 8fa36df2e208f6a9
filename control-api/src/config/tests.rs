use super::*;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/podswitchd.toml");

fn parse(text: &str) -> Result<File, ConfigError> {
    File::parse(text, Path::new("test.toml"))
}

fn settings(text: &str) -> Result<Settings, ConfigError> {
    parse(text)?.resolve(Overrides::default())
}

#[test]
fn the_shipped_example_is_the_defaults_and_has_every_key() {
    let text = std::fs::read_to_string(SHIPPED).unwrap();
    let shipped: toml::Table = text.parse().unwrap();
    let defaults = toml::Table::try_from(File::default()).unwrap();
    assert_eq!(shipped, defaults);
    assert_eq!(parse(&text).unwrap(), File::default());
    // Each key is explained: the line above it is a comment.
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair[1].contains('=') && !pair[1].starts_with('#')) {
        assert!(pair[0].starts_with('#'), "no comment above {}", pair[1]);
    }
}

#[test]
fn every_key_is_in_the_documentation() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md")).unwrap();
    for (section, keys) in toml::Table::try_from(File::default()).unwrap() {
        for (key, default) in keys.as_table().unwrap() {
            let start = format!("| `{section}.{key}` | `{}` |", default);
            assert!(page.contains(&start), "docs/configuration.md lacks {start}");
        }
    }
}

#[test]
fn the_defaults_resolve() {
    let settings = settings("").unwrap();
    assert_eq!(settings.api.to_string(), ApiAddress::DEFAULT);
    assert_eq!(settings.metrics, MetricsAddress::Unix("/run/podswitch/metrics.sock".into()));
    assert_eq!(settings.workers, WorkerCpus::Auto(1));
    assert!(settings.hugepages);
    assert_eq!(settings.attachments, AttachmentSettings::default());
    assert_eq!(settings.attachments.directory, Path::new("/run/podswitch"));
    assert_eq!(settings.attachments.reconcile, Duration::from_secs(60));
}

#[test]
fn a_group_is_a_number_or_a_name() {
    let gid = |text: &str| {
        settings(&format!("[attachments]\nsocket_group = {text}\n")).unwrap().attachments.socket_gid
    };
    assert_eq!(gid("1000"), 1000);
    assert_eq!(gid("\"1000\""), 1000);
    assert_eq!(gid("\"root\""), 0);
    let error = parse("[attachments]\nsocket_group = true\n").unwrap_err().to_string();
    assert!(error.contains("the number or name of a group"), "{error}");
}

#[test]
fn every_socket_has_room_for_its_path() {
    // Below it: /devices/, an id of 32 characters, /socket/vhost.sock; a UNIX socket's path has 107 bytes.
    let directory = |length: usize| format!("[attachments]\ndirectory = \"/{}\"\n", "d".repeat(length - 1));
    assert!(settings(&directory(48)).is_ok());
    let error = settings(&directory(50)).unwrap_err().to_string();
    assert!(error.contains("2 bytes shorter"), "{error}");
}

#[test]
fn an_empty_kubelet_is_never_asked() {
    assert_eq!(settings("[attachments]\nkubelet = \"\"\n").unwrap().attachments.kubelet, None);
    assert!(settings("").unwrap().attachments.kubelet.is_some());
}

#[test]
fn flags_win() {
    let file = parse("[workers]\ncpus = \"3\"\n[api]\naddress = \"unix:/a\"\n").unwrap();
    let flags = Overrides {
        api: Some("unix:/b/c.sock".into()),
        workers: Some("auto:2".into()),
        no_huge: true,
        ..Overrides::default()
    };
    let settings = file.resolve(flags).unwrap();
    assert_eq!(settings.api.to_string(), "unix:/b/c.sock");
    assert_eq!(settings.metrics, MetricsAddress::Unix("/b/metrics.sock".into()));
    assert_eq!(settings.workers, WorkerCpus::Auto(2));
    assert!(!settings.hugepages);
}

#[test]
fn unknown_keys_are_refused_by_name_and_line() {
    for (text, word) in
        [("[api]\nadress = \"x\"\n", "adress"), ("[apis]\n", "apis"), ("[log]\n\nformat = \"xml\"\n", "xml")]
    {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("line") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn values_out_of_range_name_their_key() {
    for (text, key) in [
        ("[dpdk]\nmemory = 1\n", "dpdk.memory"),
        ("[limits]\nport_memory = \"lots\"\n", "limits.port_memory"),
        ("[network]\nmac_quota = 5000\n", "network.mac_quota"),
        ("[metrics]\nlisten = \"0.0.0.0:1\"\n", "metrics.listen"),
        ("[workers]\ncpus = \"auto:0\"\n", "workers.cpus"),
        ("[api]\naddress = \"tcp:1.2.3.4:5\"\n", "api.address"),
        ("[state]\ndirectory = \"a\"\n", "state.directory"),
        ("[attachments]\ndirectory = \"a\"\n", "attachments.directory"),
        ("[attachments]\ndirectory = \"/a/../b\"\n", "attachments.directory"),
        ("[attachments]\nsocket_group = \"no such group\"\n", "attachments.socket_group"),
        ("[attachments]\nreconcile_seconds = 0\n", "attachments.reconcile_seconds"),
        ("[attachments]\nreconcile_seconds = 86401\n", "attachments.reconcile_seconds"),
        ("[attachments]\nkubelet = \"kubelet.sock\"\n", "attachments.kubelet"),
    ] {
        let error = settings(text).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{key}: ")), "{error}");
    }
}

#[test]
fn only_a_named_file_must_exist() {
    assert!(matches!(File::load(Some(Path::new("/no/such.toml"))), Err(ConfigError::Read { .. })));
}
