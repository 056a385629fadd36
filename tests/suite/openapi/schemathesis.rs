//! schemathesis reads both documents and makes requests of its own from them, one after the other and
//! in sequences: no server error, and no answer that is not in the document.

use std::{env, path::Path, process::Command, time::Duration};

use kit::{finish_within, http::Http};

use crate::gateway::{BASIC, Ground, LISTEN, VERSION};

const CONTROL: &str = "127.0.0.1:8442";
const TOKEN: &str = "a-token-of-operators-0001";
/// The longest run ends within this.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// Requests of one kind to one operation, in CI.
const EXAMPLES: u32 = 8;
/// What holds for every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance,negative_data_rejection,ignored_auth,\
    use_after_free";

#[test]
fn requests_made_from_the_documents_find_no_fault() {
    println!("{}", find_no_fault(EXAMPLES));
}

/// The same with many more requests.
pub(crate) fn long() -> String {
    find_no_fault(250)
}

/// Both APIs; says how many requests were made.
fn find_no_fault(examples: u32) -> String {
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), TOKEN).unwrap();
    let side = format!(
        "[control]\nlisten = \"{CONTROL}\"\ntoken_file = {:?}\n",
        token.path()
    );
    let mut ground = Ground::start(&side);
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let control = ask(&ground, (CONTROL, &["-H", &bearer]), examples);
    let password = ["-a", "harbor:a-password-of-platforms"];
    let platform = ask(&ground, (LISTEN, &password), examples);
    assert!(ground.agent.is_running());
    let mut http = Http::tcp(&ground.lab.node, LISTEN.parse().unwrap());
    let header = format!("{BASIC}{VERSION}");
    assert_eq!(http.ask("GET /v2/catalog", &header, b"").unwrap().0, 200);
    format!("control: {control}\nplatform: {platform}")
}

fn ask(ground: &Ground, (listen, auth): (&str, &[&str]), examples: u32) -> String {
    let program = env::var_os("HARBOR_SCHEMATHESIS");
    let program = program.expect("HARBOR_SCHEMATHESIS: run it by cargo xtask test");
    let mut command: Command = ground.lab.node.command(&program);
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(ground.lab.folder())
        .arg("--config-file")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("suite/openapi/schemathesis.toml"))
        .args(["run", &format!("http://{listen}/openapi.json")])
        .args(auth)
        .args(["-c", CHECKS, "-n", &examples.to_string()])
        // What is a stream has an end only for its own test.
        .args(["--exclude-path", "/v1/events"])
        .args(["--exclude-path", "/v1/trace"])
        .args(["--no-color", "--warnings", "off", "--request-timeout", "20"]);
    let finished = finish_within(PATIENCE, &mut command);
    assert_eq!(finished.code, 0, "{}\n{}", finished.stdout, finished.stderr);
    let line = finished
        .stdout
        .lines()
        .find(|line| line.contains("generated"));
    line.unwrap_or_default().trim().to_owned()
}
