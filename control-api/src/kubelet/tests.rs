use super::fake::{Kubelet, Says};
use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn ids_that_can_be_ours_are_listed() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("kubelet.sock");
    assert!(devices_in_use(&socket, PATIENCE).unwrap().is_none(), "there is no kubelet");
    assert!(devices_in_use(&socket.join("below"), PATIENCE).unwrap().is_none());

    let kubelet = Kubelet::start(&socket, Says::Devices(vec!["n0-0001".into(), "n1-0007".into()]));
    let listed = devices_in_use(&socket, PATIENCE).unwrap().unwrap();
    assert_eq!(listed.into_iter().collect::<Vec<_>>(), ["n0-0001", "n1-0007"]);
    kubelet.say(Says::Devices(vec![]));
    assert_eq!(devices_in_use(&socket, PATIENCE).unwrap(), Some(BTreeSet::new()));
}

#[test]
fn no_list_is_an_error_and_not_an_empty_list() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("kubelet.sock");
    let kubelet = Kubelet::start(&socket, Says::Error);
    let error = devices_in_use(&socket, PATIENCE).unwrap_err();
    assert!(matches!(error, KubeletError::Refused { .. }), "{error}");
    assert!(error.to_string().ends_with("the device manager is not ready"), "{error}");

    kubelet.say(Says::Nothing);
    let error = devices_in_use(&socket, Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, KubeletError::Late { .. }), "{error}");

    drop(kubelet);
    let error = devices_in_use(&socket, PATIENCE).unwrap_err();
    assert!(matches!(error, KubeletError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}
