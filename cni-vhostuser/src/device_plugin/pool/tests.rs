use super::*;

fn pool(resource: &str, first: u32, devices: u32) -> Pool {
    Pool::new(resource, first, devices).unwrap()
}

fn prefer(available: &[&str], must: &[&str], size: i32) -> Vec<String> {
    let own = |ids: &[&str]| ids.iter().map(|&id| id.to_owned()).collect();
    preferred(&ContainerPreferredAllocationRequest {
        available_device_i_ds: own(available),
        must_include_device_i_ds: own(must),
        allocation_size: size,
    })
}

#[test]
fn ids_are_the_same_every_time_and_fit_the_switch() {
    let ids = pool("podswitch.io/vhost-user", 0, 2).ids(&[0, 3]);
    let expected = [("n0-0000", 0), ("n0-0001", 0), ("n3-0000", 3), ("n3-0001", 3)];
    assert_eq!(ids, expected.map(|(id, node)| (id.to_owned(), node)));
    for (id, node) in pool("a.io/b", 9999, 1).ids(&[0, 63]) {
        assert!(paths::is_device_id(&id), "{id}");
        assert_eq!(parts(&id), Some((node, 9999)));
    }
}

#[test]
fn only_our_form_is_an_id_of_ours() {
    for other in
        ["", "n0", "n0-1", "n0-00001", "x0-0001", "n-0001", "n0-+001", "n+0-0001", "n100-0001", "../n0-0001"]
    {
        assert_eq!(parts(other), None, "{other}");
    }
}

#[test]
fn devices_say_their_node_and_its_health() {
    let devices = pool("a.io/b", 0, 1).devices(&BTreeMap::from([(0, true), (1, false)]));
    let seen: Vec<_> = devices
        .iter()
        .map(|d| (d.id.as_str(), d.health.as_str(), d.topology.as_ref().unwrap().nodes[0].id))
        .collect();
    assert_eq!(seen, [("n0-0000", "Healthy", 0), ("n1-0000", "Unhealthy", 1)]);
}

#[test]
fn every_resource_has_a_variable_and_a_socket_of_its_own() {
    assert_eq!(pool(paths::RESOURCE, 0, 1).variable(), "PODSWITCH_VHOST_DEVICES");
    assert_eq!(pool("a.io/my-b", 0, 1).variable(), "PODSWITCH_VHOST_DEVICES_A_IO_MY_B");
    assert_eq!(pool(paths::RESOURCE, 0, 1).endpoint(), "podswitch_podswitch.io_vhost-user.sock");
    let check = |a, b| Pool::check_together(&[a, b]);
    assert_eq!(check(pool("a.io/b", 0, 1000), pool("a.io/c", 1000, 1)), Ok(()));
    assert!(matches!(check(pool("a.io/b", 0, 1001), pool("a.io/c", 1000, 1)), Err(PoolError::Overlap(..))));
    assert!(matches!(check(pool("a.io/b", 0, 1), pool("a.io/b", 1, 1)), Err(PoolError::Same(..))));
    assert!(matches!(check(pool("a.io/b-c", 0, 1), pool("a.io/b_c", 1, 1)), Err(PoolError::Same(..))));
}

#[test]
fn names_that_the_kubelet_refuses_are_refused() {
    for wrong in [
        "",
        "a",
        "a/b",
        "a.io/",
        "/b",
        "a.io/b/c",
        "a.io/-b",
        "A.io/b",
        "x.kubernetes.io/b",
        "a..io/b",
        "a.io/b c",
    ] {
        assert!(matches!(Pool::new(wrong, 0, 1), Err(PoolError::Resource(_))), "{wrong}");
    }
    for (first, devices) in [(0, 0), (0, 10_001), (9999, 2), (u32::MAX, 1)] {
        assert!(matches!(Pool::new("a.io/b", first, devices), Err(PoolError::Numbers { .. })));
    }
}

#[test]
fn preferred_devices_are_of_one_node_and_the_lowest() {
    let all = ["n1-0001", "n1-0000", "n0-0002", "n0-0001", "n1-0002"];
    assert_eq!(prefer(&all, &[], 1), ["n0-0001"]);
    assert_eq!(prefer(&all, &[], 2), ["n0-0001", "n0-0002"]);
    assert_eq!(prefer(&all, &[], 3), ["n1-0000", "n1-0001", "n1-0002"], "node 0 has not enough");
    assert_eq!(prefer(&all, &["n1-0002"], 2), ["n1-0002", "n1-0000"], "near what it must have");
    assert_eq!(prefer(&all, &[], 4), ["n1-0000", "n1-0001", "n1-0002", "n0-0001"]);
    assert_eq!(prefer(&all, &[], 9).len(), 5);
    assert_eq!(prefer(&all, &["n0-0001", "n0-0002"], 1).len(), 1);
    assert!(prefer(&all, &[], -1).is_empty());
    assert!(prefer(&[], &[], 3).is_empty());
}
