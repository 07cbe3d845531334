use std::fs;
use std::os::unix::fs::symlink;

use super::*;

const DEBOUNCE: Duration = Duration::from_millis(30);
/// Far above what a notification takes; the poll's interval is below it.
const DEADLINE: Duration = Duration::from_secs(30);

struct Watched {
    directory: tempfile::TempDir,
    changes: mpsc::Receiver<Content>,
    reread: mpsc::Sender<()>,
}

impl Watched {
    /// Watches `below` a new directory after `prepare` has filled it.
    fn start(below: &str, prepare: impl FnOnce(&Path)) -> Watched {
        Watched::start_again(below, &[], prepare)
    }

    /// As [`Watched::start`], after a run that has found files at these places.
    fn start_again(below: &str, earlier: &[&str], prepare: impl FnOnce(&Path)) -> Watched {
        let directory = tempfile::tempdir().expect("a directory");
        prepare(directory.path());
        let earlier: Vec<PathBuf> = earlier.iter().map(|file| directory.path().join(file)).collect();
        let (reread, requests) = mpsc::channel(1);
        let changes = watch(&directory.path().join(below), &earlier, DEBOUNCE, requests);
        Watched { directory, changes, reread }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    async fn next(&mut self) -> Content {
        timeout(DEADLINE, self.changes.recv()).await.expect("a change within the deadline").expect("the watch goes on")
    }

    /// Waits until the directory holds files with exactly these texts.
    async fn holds(&mut self, expected: &[&str]) {
        loop {
            if let Ok(files) = self.next().await
                && files.iter().map(|file| file.text.as_str()).eq(expected.iter().copied())
            {
                return;
            }
        }
    }

    /// Waits until the directory cannot be read.
    async fn is_gone(&mut self) {
        while self.next().await.is_ok() {}
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("directories can be made");
    fs::write(path, text).expect("files can be written");
}

/// Replaces a link in one step, as git-sync and the kubelet do.
fn swap_link(link: &Path, target: &str) {
    let new = link.with_file_name(".new-link");
    symlink(target, &new).expect("links can be made");
    fs::rename(new, link).expect("links can be replaced");
}

#[tokio::test]
async fn saves_in_place_and_by_rename_are_seen() {
    let mut watched = Watched::start("", |root| write(&root.join("a.yaml"), "one"));
    watched.holds(&["one"]).await;
    write(&watched.path().join("a.yaml"), "two");
    watched.holds(&["two"]).await;
    write(&watched.path().join(".a.yaml.swp"), "three");
    fs::rename(watched.path().join(".a.yaml.swp"), watched.path().join("a.yaml")).expect("a rename");
    watched.holds(&["three"]).await;
    fs::remove_file(watched.path().join("a.yaml")).expect("a removal");
    watched.holds(&[]).await;
}

#[tokio::test]
async fn new_subdirectories_are_watched() {
    let mut watched = Watched::start("", |_| ());
    watched.holds(&[]).await;
    write(&watched.path().join("sub/deeper/a.yaml"), "one");
    watched.holds(&["one"]).await;
    write(&watched.path().join("sub/deeper/a.yaml"), "two");
    watched.holds(&["two"]).await;
    fs::remove_dir_all(watched.path().join("sub")).expect("a removal");
    watched.holds(&[]).await;
    write(&watched.path().join("sub/deeper/a.yaml"), "three");
    watched.holds(&["three"]).await;
    write(&watched.path().join("sub/deeper/a.yaml"), "four");
    watched.holds(&["four"]).await;
}

#[tokio::test]
async fn a_kubernetes_volume_is_followed() {
    let mut watched = Watched::start("", |root| {
        write(&root.join("..2026_1/policy.yaml"), "one");
        symlink("..2026_1", root.join("..data")).expect("links can be made");
        symlink("..data/policy.yaml", root.join("policy.yaml")).expect("links can be made");
    });
    watched.holds(&["one"]).await;
    for (version, text) in [("..2026_2", "two"), ("..2026_3", "three")] {
        write(&watched.path().join(version).join("policy.yaml"), text);
        swap_link(&watched.path().join("..data"), version);
        watched.holds(&[text]).await;
    }
}

#[tokio::test]
async fn a_git_sync_link_is_followed_from_above_and_from_the_link_itself() {
    for below in ["", "current"] {
        let mut watched = Watched::start(below, |root| {
            write(&root.join(".worktrees/aaaa/policy.yaml"), "one");
            symlink(".worktrees/aaaa", root.join("current")).expect("links can be made");
        });
        watched.holds(&["one"]).await;
        for (version, text) in [("bbbb", "two"), ("cccc", "three")] {
            write(&watched.path().join(".worktrees").join(version).join("policy.yaml"), text);
            swap_link(&watched.path().join("current"), &format!(".worktrees/{version}"));
            watched.holds(&[text]).await;
        }
        write(&watched.path().join(".worktrees/cccc/policy.yaml"), "four");
        watched.holds(&["four"]).await;
    }
}

#[tokio::test]
async fn a_directory_that_vanishes_is_an_error_until_it_is_back() {
    let mut watched = Watched::start("policies", |root| write(&root.join("policies/a.yaml"), "one"));
    watched.holds(&["one"]).await;
    fs::remove_dir_all(watched.path().join("policies")).expect("a removal");
    watched.is_gone().await;
    write(&watched.path().join("policies/a.yaml"), "two");
    watched.holds(&["two"]).await;
    write(&watched.path().join("policies/a.yaml"), "three");
    watched.holds(&["three"]).await;
}

#[tokio::test]
async fn what_an_earlier_run_found_does_not_go_with_a_mount_that_does_not_come() {
    let make = |below: &'static str| move |root: &Path| fs::create_dir_all(root.join(below)).expect("directories");
    for (earlier, below, confirmation) in [
        ("policies/a.yaml", "policies", "policies/none.yaml"),
        ("policies/sub/a.yaml", "policies/sub", "policies/none.yaml"),
        ("policies/sub/deeper/a.yaml", "policies/sub", "policies/sub/none.yaml"),
    ] {
        let mut watched = Watched::start_again("policies", &[earlier], make(below));
        let error = watched.next().await.expect_err("it may be the place of a mount");
        assert!(describe(&error).contains("none.yaml"), "the way out is told: {}", describe(&error));
        write(&watched.path().join(confirmation), "");
        if below.starts_with("policies/sub") && confirmation == "policies/none.yaml" {
            // Beside the place of the mount it says nothing; that has to be removed.
            let error = watched.next().await.expect_err("it may still be the place of a mount");
            assert!(describe(&error).contains("policies/sub"), "{}", describe(&error));
            fs::remove_dir(watched.path().join(below)).expect("a removal");
        }
        watched.holds(&[""]).await;
        // From now on the directory is looked at, and may be emptied.
        fs::remove_file(watched.path().join(confirmation)).expect("a removal");
        watched.holds(&[]).await;
    }
    let mut watched = Watched::start_again("policies", &["policies/a.yaml", "policies/sub/b.yaml"], |root| {
        write(&root.join("policies/c.yaml"), "one");
    });
    watched.holds(&["one"]).await;
}

#[tokio::test]
async fn a_directory_of_another_file_system_that_vanishes_takes_no_policy_with_it() {
    // A link in the place of a mount: the file system behind the name is another one, and nobody need be root.
    let shared = tempfile::tempdir_in("/dev/shm").expect("a directory on another file system");
    write(&shared.path().join("deeper/a.yaml"), "one");
    let mut watched = Watched::start("", |root| {
        write(&root.join("b.yaml"), "two");
        symlink(shared.path(), root.join("sub")).expect("links can be made");
    });
    watched.holds(&["two", "one"]).await;
    let link = watched.path().join("sub");
    let empty = watched.path().join(".empty");
    fs::create_dir(&empty).expect("directories can be made");
    swap_link(&link, ".empty");
    watched.is_gone().await;
    fs::remove_file(&link).expect("a removal");
    watched.holds(&["two"]).await;
}

#[tokio::test]
async fn a_directory_that_does_not_exist_yet_is_waited_for() {
    let mut watched = Watched::start("not/yet", |_| ());
    watched.is_gone().await;
    write(&watched.path().join("not/yet/a.yaml"), "one");
    watched.holds(&["one"]).await;
}

#[tokio::test]
async fn many_files_are_one_change() {
    let mut watched = Watched::start("", |_| ());
    watched.holds(&[]).await;
    let texts: Vec<String> = (100..300).map(|number| number.to_string()).collect();
    for text in &texts {
        write(&watched.path().join(format!("{text}.yaml")), text);
    }
    watched.holds(&texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn a_wish_to_read_again_is_answered_without_a_change() {
    let mut watched = Watched::start("", |root| write(&root.join("a.yaml"), "one"));
    watched.holds(&["one"]).await;
    for _ in 0..3 {
        watched.reread.send(()).await.expect("the watch takes wishes");
        watched.holds(&["one"]).await;
    }
}

#[tokio::test]
async fn the_watch_goes_on_without_a_sender_of_wishes_and_ends_with_its_receiver() {
    let directory = tempfile::tempdir().expect("a directory");
    let (reread, requests) = mpsc::channel(1);
    let mut changes = watch(directory.path(), [], DEBOUNCE, requests);
    assert!(timeout(DEADLINE, changes.recv()).await.expect("in time").expect("content").is_ok());
    drop(reread);
    write(&directory.path().join("a.yaml"), "one");
    let files = timeout(DEADLINE, changes.recv()).await.expect("in time").expect("content").expect("readable");
    assert_eq!(files.len(), 1);

    let (reread, requests) = mpsc::channel(1);
    drop(watch(directory.path(), [], DEBOUNCE, requests));
    timeout(DEADLINE, reread.closed()).await.expect("the watch ends");
}
