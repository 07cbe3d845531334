//! Listing an engine with very many containers: an imitation of its API.

#[expect(dead_code, reason = "this program uses a part of it")]
#[path = "support/imitation.rs"]
mod imitation;
#[expect(dead_code, reason = "this program uses a part of it")]
#[path = "support/scale.rs"]
mod scale;

use bollard::{API_DEFAULT_VERSION, Docker};
use dockgate::inventory::docker;
use imitation::{Imitation, Paging};
use scale::Scale;

/// Seconds.
const LIMIT: u64 = 60;

#[test]
fn a_list_of_several_pages_is_whole() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for containers in [0, 1, 999, 1000, 1001, 2500] {
        let networks = 10;
        let expected = Scale { endpoints: containers, networks, ..Scale::large(1000) }.inventory();
        let socket = directory.path().join(containers.to_string());
        let imitation = Imitation::serve(socket.clone(), &expected);
        for paging in [Paging::Good, Paging::Gone, Paging::Deaf, Paging::Whole] {
            imitation.list_in(paging);
            let listed = runtime.block_on(async {
                let path = socket.to_str().expect("a path in ASCII");
                let engine = Docker::connect_with_unix(path, LIMIT, API_DEFAULT_VERSION).expect("the socket is there");
                docker::snapshot(&engine).await.expect("it answers")
            });
            assert!(listed == expected, "{containers} containers, {paging:?}");
        }
    }
}
