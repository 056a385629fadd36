//! Another site in the browser of somebody who is signed in: its forms and scripts reach the console, and
//! change and learn nothing.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use super::{
    LISTEN,
    browser::{address, signed_in},
    scene,
};

/// Another site than the console's address, though the same machine.
const EVIL: &str = "http://localhost:8000";

/// Sends a form in each way that needs no script, asks in each that does, and says what came of it.
fn page() -> String {
    let to = address("/ports/create");
    format!(
        "<!DOCTYPE html><title>evil</title><iframe name=frame></iframe>\
         <form id=form method=post target=frame action='{to}'><input name=name value=evil></form>\
         <form id=plain method=post target=frame enctype=text/plain action='{to}'><input name=name value=evil></form>\
         <script>const told = [];\
         const ask = (path, how) => fetch('{origin}' + path, {{credentials: 'include', ...how}})\
           .then(a => a.text()).then(t => told.push(path + ' read ' + t.length), e => told.push(path + ' refused'));\
         form.submit(); plain.submit();\
         const body = new URLSearchParams({{name: 'evil'}});\
         Promise.all([ask('/'), ask('/samples'), ask('/live'), ask('/ports/create', {{method: 'POST', body}}),\
           fetch('{to}', {{method: 'POST', mode: 'no-cors', credentials: 'include', body}}).catch(() => {{}}),\
         ]).then(() => {{ window.told = told.sort(); }});</script>",
        origin = address("")
    )
}

/// Serves that page until the test ends.
fn serve(listener: &TcpListener) {
    let page = page();
    let answer = |mut stream: TcpStream| {
        let mut asked = [0; 4_096];
        let _ = stream.read(&mut asked);
        let length = page.len();
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}"
        );
    };
    listener.incoming().flatten().for_each(answer);
}

#[test]
fn another_site_in_the_same_browser_changes_and_learns_nothing() {
    let scene = scene("");
    let listener = scene
        .lab
        .node
        .enter(|| TcpListener::bind("127.0.0.1:8000").unwrap());
    thread::spawn(move || serve(&listener));
    let mut browser = signed_in(&scene);
    browser.open(EVIL);
    browser.until("window.told !== undefined && document.readyState === 'complete'");
    let told = browser.value("window.told.join(', ')");
    assert_eq!(
        told,
        "/ refused, /live refused, /ports/create refused, /samples refused"
    );
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 0);
    // They came: it is the console that refused them.
    let events = scene
        .agent
        .ctl_json(&["events", "--since", "1h"])
        .to_string();
    // The first of them is told, whichever it was.
    let asked = [
        "GET /: ",
        "GET /live: ",
        "GET /samples: ",
        "POST /ports/create: ",
    ];
    let is_told = |asked: &&str| events.contains(&format!("{asked}refused"));
    assert!(asked.iter().any(is_told), "{LISTEN}: {events}");
    // The user is still signed in, and his own form still works.
    browser.open(&address("/ports/create"));
    browser.fill("[name=name]", "web");
    browser.follow("main button[type=submit]");
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 1);
}
