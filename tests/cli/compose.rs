//! `--compose`: the world of Compose files, and what of a world is written.

use super::*;

/// The shop as its authors deploy it.
const COMPOSE: &str = "\
name: shop
services:
  web:
    image: web:${TAG:-1}
    labels: {app: web, traefik.auth: 'admin:hash'}
    networks: [front]
    ports: ['8080:80']
    environment: {PASSWORD: '${PASSWORD:?}'}
  api:
    image: api
    labels: [app=api]
    networks: [front, back]
  debug:
    image: debug
    profiles: [debug]
    networks: [back]
networks:
  front:
  back: {internal: true}
";

fn shop() -> Files {
    Files::new(&[
        ("policies/web.yaml", POLICY),
        ("inventory.yaml", INVENTORY),
        ("deploy/compose.yaml", COMPOSE),
        ("deploy/.env", "TAG=2\n"),
        ("other.env", "TAG=3\n"),
        ("override.yaml", "services: {api: {ports: ['8080'], scale: 2}}\n"),
    ])
}

const WORLD: [&str; 2] = ["--compose", "deploy/compose.yaml"];

#[test]
fn explain_judges_the_containers_of_a_compose_file() {
    let ask = |from, to| {
        let question = ["explain", "--policies", "policies", "--from", from, "--to", to, "--port", "8080"];
        shop().run(&[&question[..], &WORLD].concat())
    };
    let allowed = ask("shop-web-1", "shop-api-1");
    assert_eq!((allowed.code, allowed.stderr.as_str()), (Some(0), ""), "{allowed:?}");
    assert_eq!(ask("203.0.113.9", "shop-api-1").code, Some(1));
    let unknown = ask("web", "shop-api-1");
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("`dockgate get endpoints` with the same --compose"), "{unknown:?}");
}

#[test]
fn get_shows_what_compose_would_make() {
    let get = |more: &[&str]| {
        let answer = shop().run(&[&["get", "inventory", "-o", "json"], &WORLD[..], more].concat());
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{answer:?}");
        let spec = answer.json()["spec"].clone();
        let name =
            |item: &Value| format!("{} {}", item["name"].as_str().unwrap(), item["image"].as_str().unwrap_or(""));
        spec["containers"].as_array().unwrap().iter().map(name).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(get(&[]), "shop-api-1 api, shop-web-1 web:2");
    assert_eq!(get(&["--profile", "debug"]), "shop-api-1 api, shop-debug-1 debug, shop-web-1 web:2");
    assert_eq!(get(&["--env-file", "other.env", "-p", "mine"]), "mine-api-1 api, mine-web-1 web:3");
    assert_eq!(get(&["--compose", "override.yaml"]), "shop-api-1 api, shop-api-2 api, shop-web-1 web:2");
}

#[test]
fn what_get_writes_reads_as_the_same_world() {
    let files = shop();
    let endpoints = |world: &[&str]| files.run(&[&["get", "endpoints", "-o", "json"], world].concat()).json();
    let written = files.run(&[&["get", "inventory", "-o", "yaml"], &WORLD[..]].concat());
    fs::write(files.path().join("written.yaml"), &written.stdout).unwrap();
    assert_eq!(endpoints(&["--inventory", "written.yaml"]), endpoints(&WORLD));
}

#[test]
fn labels_that_policies_do_not_ask_for_can_be_left_out() {
    let files = shop();
    let all = files.run(&[&["get", "inventory", "-o", "yaml"], &WORLD[..]].concat());
    assert!(all.stdout.contains("admin:hash") && !all.stdout.contains("PASSWORD"), "{all:?}");
    let few = files.run(&[&["get", "inventory", "-o", "json", "--for-policies", "policies"], &WORLD[..]].concat());
    let containers = &few.json()["spec"]["containers"];
    assert_eq!(
        [&containers[0]["labels"], &containers[1]["labels"]],
        [
            &serde_json::json!({"app": "api", "com.docker.compose.project": "shop"}),
            &serde_json::json!({"app": "web", "com.docker.compose.project": "shop"}),
        ]
    );
    fs::write(files.path().join("few.json"), &few.stdout).unwrap();
    let endpoints = |world: &[&str]| {
        let mut list =
            files.run(&[&["get", "endpoints", "-o", "json", "--policies", "policies"], world].concat()).json();
        list.as_array_mut().unwrap().iter_mut().for_each(|endpoint| endpoint["labels"] = Value::Null);
        list
    };
    assert_eq!(endpoints(&["--inventory", "few.json"]), endpoints(&WORLD), "policies select the same");
}

#[test]
fn validate_holds_policies_against_compose_files() {
    let files = Files::new(&[
        ("policies/web.yaml", POLICY),
        ("compose.yaml", "name: shop\nservices: {api: {image: i, network_mode: host, labels: {app: api}}}\n"),
    ]);
    let answer = files.run(&["validate", "policies", "--compose", "compose.yaml", "-o", "json"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let codes: Vec<Value> =
        answer.json()["diagnostics"].as_array().unwrap().iter().map(|finding| finding["code"].clone()).collect();
    assert!(codes.contains(&Value::from("DG3105")), "{answer:?}");
}

#[test]
fn errors_have_their_place_and_there_is_no_answer() {
    let files = Files::new(&[(
        "compose.yaml",
        "name: shop\nservices:\n  web:\n    image: $TAG\n    networks: [frnt]\nnetworks: {front: }\n",
    )]);
    let answer = files.run(&["get", "endpoints", "--compose", "compose.yaml"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{answer:?}");
    for part in [
        "error[DG3040]: there is no network `frnt`",
        "compose.yaml:5:16",
        "did you mean `front`?",
        "the Compose model in compose.yaml cannot be used: 1 error",
    ] {
        assert!(answer.stderr.contains(part), "{part}: {}", answer.stderr);
    }
}

#[test]
fn warnings_are_told_beside_the_answer() {
    let files = Files::new(&[("compose.yaml", "name: shop\nservices: {web: {image: 'web:$TAG'}}\n")]);
    let answer = files.run(&["get", "endpoints", "--compose", "compose.yaml", "-o", "json"]);
    assert_eq!(answer.code, Some(0));
    assert_eq!(answer.json()[0]["container"], "shop-web-1");
    assert!(answer.stderr.contains("warning[DG3150]") && answer.stderr.contains("compose.yaml:2:25"), "{answer:?}");
}

#[test]
fn worlds_exclude_each_other_and_options_need_their_files() {
    let files = shop();
    for arguments in [
        &["get", "endpoints", "--inventory", "inventory.yaml", "--compose", "deploy/compose.yaml"][..],
        &["validate", "policies", "--inventory", "inventory.yaml", "--compose", "deploy/compose.yaml"],
        &["get", "endpoints", "--profile", "x"],
        &["get", "endpoints", "--inventory", "inventory.yaml", "--project-name", "x"],
        &["get", "endpoints", "--compose", "nowhere.yaml"],
        &["get", "endpoints", "--compose", "deploy"],
        &["get", "endpoints", "--compose", "deploy/compose.yaml", "--env-file", "nowhere.env"],
        &["get", "endpoints", "--compose", "deploy/compose.yaml", "--project-name", "Not Valid"],
    ] {
        let answer = files.run(arguments);
        assert_eq!((answer.code, answer.stdout.as_str()), (Some(2), ""), "{arguments:?}: {answer:?}");
        assert!(!answer.stderr.is_empty(), "{arguments:?}");
    }
}
