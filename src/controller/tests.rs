use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::inventory::NetworkId;

const POLICY: &str = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: x}, spec: {}}";

#[test]
fn a_first_start_on_an_invalid_directory_is_refused_whatever_another_one_held() {
    let root = tempfile::tempdir().expect("a directory");
    let directory = root.path().join("policies");
    fs::create_dir(&directory).expect("directories can be made");
    let known = |path: PathBuf| BTreeMap::from([(path, POLICY.to_owned())]);
    for (name, good, text, starts) in [
        ("nothing known, valid", BTreeMap::new(), POLICY, true),
        ("nothing known, broken", BTreeMap::new(), "[", false),
        ("a good version", known(directory.join("a.yaml")), "[", true),
        ("a good version of a file that was renamed and broken", known(directory.join("b.yaml")), "[", true),
        ("a file of another directory, broken", known(root.path().join("other/a.yaml")), "[", false),
        ("a file of another directory, valid", known(root.path().join("other/a.yaml")), POLICY, true),
    ] {
        fs::write(directory.join("a.yaml"), text).expect("files can be written");
        let store = first_policies(&directory, Store::new(good.clone(), vec![]));
        match &store {
            Ok(store) => assert!(store.good().keys().all(|path| path.starts_with(&directory)), "{name}: {store:?}"),
            Err(error) => assert!(matches!(error, Error::Invalid { files, .. } if files.len() == 1), "{name}"),
        }
        assert_eq!(store.is_ok(), starts, "{name}");
    }
}

/// A subscription that cannot be made again.
fn once(notice: mpsc::Receiver<dataplane::Notice>) -> Notices {
    let mut notice = Some(notice);
    Notices::new(move || notice.take().ok_or_else(|| std::io::Error::other("once only")))
}

fn controller(root: &Path, status: watch::Sender<Status>) -> Controller {
    let options = Options {
        policies: root.to_owned(),
        state_directory: root.to_owned(),
        compile: compile::Options::default(),
        resync_interval: Duration::from_secs(3600),
        debounce: Duration::from_millis(50),
        kernel: dataplane::Options::default(),
        accepted_out_of_reach: BTreeSet::new(),
    };
    let core = Core::new(options.compile.clone(), Store::default());
    let enforcer = Enforcer::new(options.kernel, root);
    let reread = mpsc::channel(1).0;
    Controller { options, core, enforcer, status, notifier: Notifier, reread, announced: false }
}

/// Streams of changes and of edits that never end, as seen from the loop: a hundred turns of each are waiting.
#[tokio::test(flavor = "multi_thread")]
async fn streams_of_changes_and_edits_keep_nothing_else_from_its_turn() {
    const BATCHES: usize = 100;
    let root = tempfile::tempdir().expect("a directory");
    let (changes_in, changes) = mpsc::channel(BATCHES * CHANGES_IN_FLIGHT);
    for _ in 0..BATCHES * CHANGES_IN_FLIGHT {
        changes_in.try_send(Change::NetworkGone(NetworkId("x".into()))).expect("there is space");
    }
    let (files_in, files) = mpsc::channel(BATCHES);
    for _ in 0..BATCHES {
        let read = vec![SourceFile::new(Path::new("x.yaml"), POLICY)];
        files_in.try_send(Ok(read)).expect("there is space");
    }
    let (notice_in, notice) = mpsc::channel(1);
    notice_in.try_send(dataplane::Notice { rules: true, links: dataplane::Touched::Any }).expect("there is space");
    let notices = once(notice);

    let (status, mut seen) = watch::channel(Status::default());
    let (waiting_in, waiting) = tokio::sync::oneshot::channel();
    let control = tokio::spawn(async move {
        let of_policy = |status: &Status| status.policies.files == 1;
        seen.wait_for(of_policy).await.expect("the loop runs");
        // Closed, it is the end of the kernel's notifications; it is told once the notice was heard.
        drop(notice_in);
        seen.wait_for(|status| status.problems.iter().any(|problem| problem.contains("have ended")))
            .await
            .expect("the loop runs");
        let changes = (changes_in.max_capacity() - changes_in.capacity()) / CHANGES_IN_FLIGHT;
        let _ = waiting_in.send([changes, files_in.max_capacity() - files_in.capacity()]);
        std::mem::forget((changes_in, files_in));
    });
    let controller = controller(root.path(), status);
    let inputs = Inputs { files, changes, notices, control };
    let signals = Signals::install().expect("signals can be waited for");
    let ended = controller.run(inputs, signals).await;
    assert!(matches!(ended, Err(Error::Ended("the control socket"))), "{ended:?}");
    let waiting = waiting.await.expect("it was sent");
    assert!(waiting.iter().all(|left| *left > BATCHES / 2), "only {waiting:?} turns were still waiting");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_changed_comes_before_containers_and_these_before_edits() {
    let root = tempfile::tempdir().expect("a directory");
    let (changes_in, changes) = mpsc::channel(1);
    changes_in.try_send(Change::NetworkGone(NetworkId("x".into()))).expect("there is space");
    let (files_in, files) = mpsc::channel(1);
    files_in.try_send(Ok(vec![])).expect("there is space");
    let (notice_in, notice) = mpsc::channel(1);
    notice_in.try_send(dataplane::Notice { rules: true, ..dataplane::Notice::default() }).expect("there is space");
    let notices = once(notice);
    let mut inputs = Inputs { files, changes, notices, control: tokio::spawn(std::future::pending()) };
    let mut controller = controller(root.path(), watch::channel(Status::default()).0);
    let mut signals = Signals::install().expect("signals can be waited for");
    let mut course = Course::new(Duration::from_secs(3600));
    course.pace.noticed(Instant::now().checked_sub(Duration::from_secs(1)).expect("the machine runs for longer"));
    tokio::time::sleep(Duration::from_millis(5)).await;
    let mut expected = Round::default();
    for matter in [Matter::ReadBack, Matter::Notices, Matter::Changes, Matter::Files] {
        let turn = controller.next(&mut inputs, &mut signals, &mut course).await.expect("nothing fails");
        assert!(turn.is_some(), "nobody asks it to end");
        // It is read back in the turn, which is not taken here.
        course.pace.begins();
        expected.takes(matter);
        assert_eq!(course.round, expected);
    }
}

#[test]
fn a_directory_that_cannot_be_read_needs_something_to_go_on_with() {
    let nowhere = Path::new("nowhere");
    let known = |path: &str| Store::new(BTreeMap::from([(path.into(), POLICY.to_owned())]), vec![]);
    assert!(matches!(first_policies(nowhere, Store::default()), Err(Error::Policies(_))));
    assert!(matches!(first_policies(nowhere, known("elsewhere/a.yaml")), Err(Error::Policies(_))));
    assert!(first_policies(nowhere, known("nowhere/a.yaml")).is_ok());
}
