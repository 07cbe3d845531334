use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::policy::files::read;

fn write(directory: &Path, name: &str, text: impl AsRef<[u8]>) {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("directories can be made");
    fs::write(path, text).expect("files can be written");
}

/// Paths relative to the directory, with their texts.
fn found(directory: &Path) -> Vec<(String, String)> {
    let files = read(&[directory.to_owned()]).expect("the directory can be read");
    let name = |file: &SourceFile| file.path.strip_prefix(directory).expect("below it").display().to_string();
    files.iter().map(|file| (name(file), file.text.clone())).collect()
}

fn names(directory: &Path) -> Vec<String> {
    found(directory).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn policy_files_are_read_and_leftovers_are_not() {
    let directory = tempfile::tempdir().expect("a directory");
    for name in ["b.yaml", "a.yml", "sub/deeper/c.json", "dotted.v1.yaml"] {
        write(directory.path(), name, name);
    }
    for name in [
        ".hidden.yaml",
        ".git/x.yaml",
        "..2026_01/x.yaml",
        ".#b.yaml",
        "#b.yaml#",
        "b.yaml~",
        "b.yaml.swp",
        "4913",
        "b.yaml.tmp",
        "README.md",
        "yaml",
        "b.yaml___jb_tmp___",
        "b.YAML.orig",
    ] {
        write(directory.path(), name, "leftover");
    }
    assert_eq!(names(directory.path()), ["a.yml", "b.yaml", "dotted.v1.yaml", "sub/deeper/c.json"]);
}

#[test]
fn a_file_that_is_named_is_read_whatever_its_name() {
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path(), ".policy", "a: 1");
    let path = directory.path().join(".policy");
    assert_eq!(read(std::slice::from_ref(&path)).expect("read"), [SourceFile::new(&path, "a: 1")]);
    let twice = read(&[path.clone(), directory.path().to_owned(), path.clone()]).expect("read");
    assert_eq!(twice.len(), 1);
}

#[test]
fn a_path_that_does_not_exist_is_an_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let Err(Error::Read { path, source }) = read(&[directory.path().join("absent")]) else { panic!("it was read") };
    assert_eq!((path, source.kind()), (directory.path().join("absent"), ErrorKind::NotFound));
}

#[test]
fn links_of_kubernetes_volumes_and_git_sync_are_followed() {
    let directory = tempfile::tempdir().expect("a directory");
    let volume = directory.path().join("volume");
    write(&volume, "..2026_1/policy.yaml", "one");
    symlink("..2026_1", volume.join("..data")).expect("links can be made");
    symlink("..data/policy.yaml", volume.join("policy.yaml")).expect("links can be made");
    assert_eq!(found(&volume), [("policy.yaml".to_owned(), "one".to_owned())]);

    let checkout = directory.path().join("checkout");
    write(&checkout, "0a1b/sub/policy.yaml", "two");
    symlink("0a1b", checkout.join("current")).expect("links can be made");
    assert_eq!(found(&checkout), [("current/sub/policy.yaml".to_owned(), "two".to_owned())]);
    assert_eq!(names(&checkout.join("current")), ["sub/policy.yaml"]);
}

#[test]
fn circles_of_links_end() {
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path(), "sub/a.yaml", "a");
    symlink("..", directory.path().join("sub/up")).expect("links can be made");
    symlink("../sub", directory.path().join("sub/self")).expect("links can be made");
    assert_eq!(names(directory.path()), ["sub/a.yaml"]);
}

#[test]
fn what_is_there_and_unreadable_does_not_vanish() {
    let directory = tempfile::tempdir().expect("a directory");
    symlink("nowhere", directory.path().join("dangling.yaml")).expect("links can be made");
    symlink("circle.yaml", directory.path().join("circle.yaml")).expect("links can be made");
    write(directory.path(), "latin.yaml", b"a: 1\nb: caf\xe9\n");
    write(directory.path(), "large.yaml", vec![b'#'; usize::try_from(MAX_FILE_SIZE).expect("fits") + 1]);
    nix::unistd::mkfifo(&directory.path().join("pipe.yaml"), nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
    let files = read(&[directory.path().to_owned()]).expect("the directory can be read");
    let reasons: Vec<_> = files.iter().map(|file| file.unreadable.clone().expect("a reason")).collect();
    assert!(matches!(&reasons[0], Unreadable::Refused(reason) if reason.contains("symbolic links")));
    assert!(matches!(&reasons[1], Unreadable::Refused(reason) if reason.ends_with("which does not exist")));
    assert_eq!(reasons[2], Unreadable::TooLarge { size: MAX_FILE_SIZE + 1 });
    assert_eq!(reasons[3], Unreadable::NotUtf8 { line: 2, column: 7 });
    assert_eq!(reasons[4], Unreadable::Refused("not a regular file".to_owned()));

    symlink("nowhere", directory.path().join("directory")).expect("links can be made");
    assert!(read(&[directory.path().to_owned()]).is_err(), "a link that may stand for a directory");
}

#[test]
fn directories_that_may_not_be_entered_are_errors() {
    if nix::unistd::geteuid().is_root() {
        // Permissions do not hold for root; nothing can be shown.
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path(), "sub/a.yaml", "a");
    fs::set_permissions(directory.path().join("sub"), fs::Permissions::from_mode(0o000)).expect("permissions");
    assert!(read(&[directory.path().to_owned()]).is_err());
    fs::set_permissions(directory.path().join("sub"), fs::Permissions::from_mode(0o755)).expect("permissions");
}

#[test]
fn every_directory_on_the_way_is_watched() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = fs::canonicalize(directory.path()).expect("a real path");
    write(&root, "store/v1/a.yaml", "a");
    write(&root, "policies/b.yaml", "b");
    symlink("../store/v1", root.join("policies/linked")).expect("links can be made");
    symlink("policies", root.join("entry")).expect("links can be made");
    let watched = scan(&[root.join("entry")]).directories;
    let expected = ["", "policies", "store", "store/v1"].map(|name| root.join(name).components().collect::<PathBuf>());
    assert_eq!(watched, BTreeSet::from(expected));
    assert_eq!(scan(&[root.join("absent/deeper")]).directories, BTreeSet::from([root]));
}
