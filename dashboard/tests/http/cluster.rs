//! The cluster on its page, over HTTP and in the metrics: one node, three nodes, none that owns.

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::test::TestRequest;
use windlass_core::access::Role;
use windlass_core::api::{ClusterNode, ClusterView, NodeState};
use windlass_dashboard::Options;

use crate::fake::Fake;
use crate::made::{lost, three};
use crate::sample::HOSTILE;
use crate::site;

fn with(view: ClusterView) -> Fake {
    let fake = Fake::busy();
    fake.world.lock().expect("nobody else has it").cluster = Some(view);
    fake
}

#[actix_web::test]
async fn one_node_says_what_several_would_give() {
    let site = site(Fake::busy(), Options::default()).await;
    let text = site.page("/cluster").await.text;
    assert!(text.contains("One node runs everything, on the store sled."), "{text}");
    assert!(text.contains("another node takes over within seconds") && text.contains("docs/operations.md"));
    assert!(!text.contains("node:drain"), "nobody could take over");
    assert!(!text.contains("id=\"notes-title\""), "nothing is wrong");
    assert!(text.contains("href=\"/cluster\" aria-current=\"page\""), "it is in the navigation");
}

#[actix_web::test]
async fn three_nodes_are_drawn_listed_and_their_moves_told() {
    let site = site(with(three()), Options::default()).await;
    let text = site.page("/cluster").await.text;
    assert!(text.contains("3 nodes. node-7f3a9c owns the queues; 1 stands by to take over."), "{text}");
    // In two sizes each.
    let drawn = |what: &str| text.matches(what).count();
    assert_eq!((drawn("<g class=\"seat owner here\""), drawn("<g class=\"seat standby\"")), (2, 2));
    assert_eq!((drawn("<g class=\"seat gone\""), drawn("class=\"relay\"")), (2, 2));
    assert!(text.contains("1,204 ready") && text.contains("silent for 3 min 04 s"));
    assert!(text.contains("The clock of node-b04e11 is 2.4 s behind that of this node."));
    assert!(text.contains("node-c99d20 is gone"));
    assert!(text.contains("the owner was silent for 0.8 s"));
    assert_eq!(drawn("value=\"node:drain\""), 1, "the owner can be drained");
    assert!(!text.contains("docs/operations.md"));
    let chinese = site.page("/cluster?lang=zh-CN").await.text;
    assert!(chinese.contains("<h1>集群</h1>") && chinese.contains("拥有者") && !chinese.contains('⁇'));
}

#[actix_web::test]
async fn a_shard_without_an_owner_is_what_is_said_first() {
    let site = site(with(lost()), Options::default()).await;
    let text = site.page("/cluster").await.text;
    assert!(text.contains("Nobody owns shard 0") && text.contains("the database does not answer"), "{text}");
    assert_eq!((text.matches("class=\"relay\"").count(), text.matches("pipe cut").count()), (0, 2));
    let metrics = site.get("/metrics").await.text;
    assert!(metrics.contains("\nwindlass_shard_owned{shard=\"0\"} 0\n"), "{metrics}");
    assert!(metrics.contains("\nwindlass_store_available 0\n"), "{metrics}");

    let mut dead = three();
    dead.shards[0].owner = Some("node-c99d20".to_owned());
    let site = crate::site(with(dead), Options::default()).await;
    let text = site.page("/cluster").await.text;
    assert!(text.contains("node-c99d20 owns shard 0 and shows no sign of life"), "{text}");
    assert_eq!(text.matches("class=\"relay\"").count(), 0);
}

#[actix_web::test]
async fn a_node_is_drained_when_somebody_is_sure() {
    let fake = with(three());
    let site = site(fake.clone(), Options::default()).await;
    let drained = || fake.world.lock().unwrap().drained.clone();
    let order = [("do", "node:drain"), ("name", "node-7f3a9c"), ("back", "/cluster")];
    let asked = site.form("/do", &order).await.text;
    assert!(asked.contains("Let the node node-7f3a9c give up what it owns") && drained().is_empty());
    let sure: Vec<(&str, &str)> = order.iter().copied().chain([("confirm", "yes")]).collect();
    let reply = site.form("/do", &sure).await;
    assert_eq!((reply.status, reply.header("location")), (StatusCode::SEE_OTHER, "/cluster"));
    assert_eq!(drained(), ["node-7f3a9c"]);

    let reply = site.post("/api/v1/nodes/node-b04e11/drain?hold_ms=5000", "").await;
    assert_eq!((reply.status, &reply.json()["count"]), (StatusCode::OK, &1.into()));
    assert_eq!(drained(), ["node-7f3a9c", "node-b04e11"]);
    assert_eq!(site.post("/api/v1/nodes/a/drain?hold=5", "").await.status, StatusCode::BAD_REQUEST);

    let alone = crate::site(Fake::busy(), Options::default()).await;
    let reply = alone.post("/api/v1/nodes/node-7f3a9c/drain", "").await;
    assert_eq!((reply.status, &reply.json()["code"]), (StatusCode::CONFLICT, &"conflict".into()));
}

#[actix_web::test]
async fn who_may_only_look_is_offered_no_button() {
    let fake = with(three());
    fake.world.lock().unwrap().tokens = [("viewer".to_owned(), Role::Viewer)].into();
    let site = site(fake, Options::default()).await;
    let asked = TestRequest::get().uri("/cluster").insert_header((header::AUTHORIZATION, "Bearer viewer"));
    let reply = site.ask(asked.insert_header(("accept", "text/html"))).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.text.contains("node-b04e11") && !reply.text.contains("node:drain"));
}

#[actix_web::test]
async fn the_view_as_json_has_everything() {
    let site = site(with(three()), Options::default()).await;
    let view = site.get("/api/v1/cluster").await.json();
    assert_eq!((&view["name"], &view["shards"][0]["owner"]), (&"production".into(), &"node-7f3a9c".into()));
    let standby = &view["nodes"][1];
    assert_eq!((&standby["state"], &standby["clock_skew_ms"]), (&"standby".into(), &(-2_400).into()));
    assert_eq!(
        (&view["moves"][2]["to"], &view["trouble"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
    let metrics = site.get("/metrics").await.text;
    for line in [
        "# TYPE windlass_shard_epoch gauge",
        "windlass_shard_epoch{shard=\"0\"} 12",
        "windlass_shard_owned{shard=\"0\"} 1",
        "# TYPE windlass_shard_moves_total counter",
        "windlass_shard_moves_total{shard=\"0\"} 7",
        "windlass_store_available 1",
    ] {
        assert!(metrics.lines().any(|said| said == line), "{line}: {metrics}");
    }
}

#[actix_web::test]
async fn nothing_that_nodes_say_becomes_markup() {
    let mut view = three();
    let text = || HOSTILE.to_owned();
    let hostile = ClusterNode {
        name: text(),
        version: text(),
        native: text(),
        http: text(),
        faktory: text(),
        clock_skew_ms: Some(i64::MIN),
        ..view.nodes[1].clone()
    };
    view.nodes.push(ClusterNode { state: NodeState::Gone, lag_ms: u64::MAX, ..hostile.clone() });
    view.nodes.push(hostile);
    (view.name, view.store, view.trouble) = (text(), text(), Some(text()));
    view.moves[0].why = text();
    view.moves[0].from = Some(text());
    let site = site(with(view), Options::default()).await;
    let page = site.page("/cluster").await.text;
    assert!(!page.contains("<img") && !page.contains(" style="), "{page}");
    let asked = site.form("/do", &[("do", "node:drain"), ("name", HOSTILE)]).await.text;
    assert!(!asked.contains("<img"), "{asked}");
}
