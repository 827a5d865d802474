//! The cluster of one node: what it shows, and that it is not drained.

use crate::support::Server;

#[test]
fn a_node_by_itself_owns_everything() {
    let server = Server::start();
    server.run(&["job", "enqueue", "k", "--queue", "mail"]).ok();
    let view = server.run(&["cluster", "status", "--json"]).ok().json();
    let (shard, node) = (&view["shards"][0], &view["nodes"][0]);
    assert_eq!((&view["store"], &view["name"]), (&"sled".into(), &"windlass".into()), "{view}");
    assert_eq!((&shard["owner"], &node["state"]), (&view["node"], &"owner".into()), "{view}");
    assert_eq!((&shard["queues"], &shard["ready"], &shard["epoch"]), (&1.into(), &1.into(), &node["epoch"]));
    assert_eq!((&node["native"], &node["clock_skew_ms"]), (&server.native().into(), &0.into()), "{view}");
    assert_eq!(
        (&view["moves"][0]["why"], &view["moves"][0]["to"]),
        (&"started".into(), &view["node"]),
        "{view}"
    );
    let table = server.run(&["cluster", "status"]).ok().out;
    let name = view["node"].as_str().expect("a name");
    assert!(table.contains(name) && table.contains("owner") && table.contains("started"), "{table}");
}

#[test]
fn a_node_by_itself_is_not_drained() {
    let server = Server::start();
    let view = server.run(&["cluster", "status", "--json"]).ok().json();
    let name = view["node"].as_str().expect("a name");
    for args in [&["node", "drain"][..], &["node", "drain", name, "--for", "5s"]] {
        let said = server.run(args).fails(4);
        assert!(
            said.err.contains("there is no other node to take over; stop the server instead"),
            "{}",
            said.err
        );
    }
    let said = server.run(&["node", "drain", "nobody"]).fails(3);
    assert!(said.err.contains("there is no node \"nobody\"") && said.err.contains(name), "{}", said.err);
    assert_eq!(server.run(&["node", "drain", "--for", "soon"]).code, 2);
    assert_eq!(server.run(&["cluster", "status", "--json"]).ok().json()["shards"][0]["owner"], name);
}
