use super::*;

fn settle(arguments: &[&str]) -> Result<Settings, OptionsError> {
    Options::try_parse_from([&["podswitch-device-plugin"], arguments].concat()).unwrap().settle()
}

fn with_file(text: &str, arguments: &[&str]) -> Result<Settings, OptionsError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("device-plugin.toml");
    fs::write(&path, text).unwrap();
    settle(&[&["--config", path.to_str().unwrap()], arguments].concat())
}

#[test]
fn without_a_word_it_is_as_the_node_has_it() {
    let settings = settle(&[]).unwrap();
    assert_eq!(settings.api, Path::new("/run/podswitch/api.sock"));
    assert_eq!(settings.layout.root, Path::new("/run/podswitch"));
    assert_eq!((settings.layout.bytes, settings.layout.inodes, settings.layout.group), (65_536, 64, 0));
    assert_eq!(settings.layout.label, None);
    assert_eq!(settings.kubelet_dir, Path::new("/var/lib/kubelet/device-plugins"));
    assert_eq!(settings.devinfo_dir, Path::new("/var/run/k8s.cni.cncf.io/devinfo/dp"));
    assert_eq!(settings.nodes, Nodes::Auto);
    assert_eq!(settings.mount_namespace, MountNamespace::Auto);
    assert_eq!((settings.hold_down, settings.poll), (Duration::from_secs(30), Duration::from_secs(5)));
    let pool = &settings.pools[0];
    assert_eq!((pool.resource(), pool.ids(&[0]).len()), ("podswitch.io/vhost-user", 64));
}

#[test]
fn a_flag_is_stronger_than_the_file() {
    let file = "root = \"/a\"\nnodes = \"1,0,1\"\nsocket_group = 107\ndevices = 8\n";
    let settings = with_file(file, &["--root", "/b"]).unwrap();
    assert_eq!(settings.layout.root, Path::new("/b"));
    assert_eq!(settings.api, Path::new("/b/api.sock"), "the API lies in the root unless it is named");
    assert_eq!(settings.nodes, Nodes::Listed(vec![0, 1]));
    assert_eq!(settings.layout.group, 107);
    assert_eq!(settings.pools[0].ids(&[0]).len(), 8);
}

#[test]
fn pools_have_ids_of_their_own() {
    let file =
        "[[pool]]\nresource = \"a.io/one\"\n[[pool]]\nresource = \"a.io/two\"\ndevices = 2\nuplinks = []\n";
    let settings = with_file(file, &[]).unwrap();
    assert_eq!(settings.pools[0].ids(&[0])[0].0, "n0-0000");
    let second: Vec<_> = settings.pools[1].ids(&[0]).into_iter().map(|(id, _)| id).collect();
    assert_eq!(second, ["n0-1000", "n0-1001"]);
    assert!(matches!(with_file(file, &["--devices", "3"]), Err(OptionsError::PoolsTwice)));
}

#[test]
fn a_pool_with_uplinks_is_refused_by_name() {
    let error = with_file("[[pool]]\nresource = \"a.io/one\"\nuplinks = [\"p0\"]\n", &[]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("a.io/one") && text.contains("p0") && text.contains("not offered"), "{text}");
}

#[test]
fn what_cannot_be_used_is_refused() {
    for (arguments, word) in [
        (&["--root", "run"][..], "--root"),
        (&["--root", "/run/../etc"], "--root"),
        (&["--api", "tcp:1.2.3.4:5"], "unix:PATH"),
        (&["--nodes", "0,x"], "0,x"),
        (&["--nodes", "64"], "64"),
        (&["--nodes", ""], "--nodes"),
        (&["--socket-inodes", "2"], "--socket-inodes"),
        (&["--socket-bytes", "12"], "--socket-bytes"),
        (&["--poll-ms", "1"], "--poll-ms"),
        (&["--hold-down-ms", "99999999"], "--hold-down-ms"),
        (&["--mount-namespace", "host"], "host"),
        (&["--resource", "vhost"], "vhost"),
        (&["--devices", "0"], "0 devices"),
        (&["--devices", "10001"], "10001"),
    ] {
        let error = settle(arguments).map(|s| format!("{s:?}")).unwrap_err().to_string();
        assert!(error.contains(word), "{arguments:?}: {error}");
    }
    let long = format!("/{}", "r".repeat(90));
    assert!(matches!(settle(&["--root", &long]), Err(OptionsError::Long { .. })));
    assert!(matches!(with_file("rot = \"/a\"", &[]), Err(OptionsError::Parse { .. })));
    assert!(matches!(settle(&["--config", "/nowhere/file"]), Err(OptionsError::Read { .. })));
    assert!(Options::try_parse_from(["x", "--force"]).is_err(), "--force is for --cleanup");
}

#[test]
fn every_flag_is_in_the_documentation() {
    use clap::CommandFactory as _;
    let page = include_str!("../../../../docs/device-plugin.md");
    for flag in Options::command().get_arguments().filter_map(|a| a.get_long().map(str::to_owned)) {
        assert!(page.contains(&format!("| `--{flag}")), "--{flag}");
    }
}
