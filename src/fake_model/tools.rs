//! Finds the client's own tool for what a script wants done.

use serde_json::{Map, Value, json};

use crate::fake_model::asked::Tool;
use crate::fake_model::reply::{Call, ToolKind};
use crate::fake_model::script::Wish;

const SHELLS: &[&str] = &[
    "Bash",
    "exec_command",
    "shell_command",
    "shell",
    "local_shell",
    "run_shell_command",
];
const READERS: &[&str] = &["Read", "read_file"];
const WRITERS: &[&str] = &["Write", "write_file"];
const PATHS: &[&str] = &["file_path", "absolute_path", "path"];
/// Codex's tool that runs JavaScript, which calls the others.
const CODE: &str = "exec";
/// Codex's tool that changes files.
const PATCH: &str = "apply_patch";

/// The call that does what is wished, if the client offers a tool for it.
pub(super) fn call(wish: &Wish, tools: &[Tool]) -> Option<Call> {
    match wish {
        Wish::Shell(command) => shell(command, tools),
        Wish::Read(path) => {
            let read = find(READERS, tools).map(|tool| of(tool, json!({(path_key(tool)): path})));
            read.or_else(|| shell(&format!("cat '{path}'"), tools))
        }
        Wish::Write(path, text) => {
            let write = find(WRITERS, tools).map(|tool| of(tool, json!({(path_key(tool)): path, "content": text})));
            write.or_else(|| patch(path, text, tools))
        }
        Wish::Named(name, arguments) => {
            let known = tools.iter().find(|tool| tool.name == *name);
            let unknown = Tool {
                name: name.clone(),
                ..Tool::default()
            };
            Some(of(known.unwrap_or(&unknown), given(arguments)))
        }
    }
}

fn given(arguments: &str) -> Value {
    if arguments.is_empty() {
        return json!({});
    }
    serde_json::from_str(arguments).unwrap_or_else(|_no_json| Value::from(arguments))
}

fn find<'a>(names: &[&str], tools: &'a [Tool]) -> Option<&'a Tool> {
    names
        .iter()
        .find_map(|name| tools.iter().find(|tool| tool.name == *name))
}

fn of(tool: &Tool, arguments: Value) -> Call {
    Call {
        name: tool.name.clone(),
        arguments,
        kind: tool.kind,
        namespace: tool.namespace.clone(),
    }
}

fn path_key(tool: &Tool) -> &'static str {
    let known = |key: &&&str| tool.schema.pointer(&format!("/properties/{key}")).is_some();
    PATHS.iter().find(known).copied().unwrap_or("path")
}

fn shell(command: &str, tools: &[Tool]) -> Option<Call> {
    if let Some(tool) = find(SHELLS, tools) {
        return Some(of(tool, shell_arguments(tool, command)));
    }
    let code = tools
        .iter()
        .find(|tool| tool.name == CODE && tool.kind == ToolKind::Custom)?;
    let script = format!(
        "const r = await tools.exec_command({}); text(r.output ?? r);",
        json!({"cmd": command})
    );
    Some(of(code, Value::from(script)))
}

fn shell_arguments(tool: &Tool, command: &str) -> Value {
    let property = |name: &str| tool.schema.pointer(&format!("/properties/{name}"));
    let is_list = |schema: &Value| {
        schema
            .get("type")
            .and_then(Value::as_str)
            .is_some_and(|kind| kind.eq_ignore_ascii_case("array"))
    };
    let mut arguments = Map::new();
    if property("cmd").is_some() {
        arguments.insert("cmd".to_owned(), Value::from(command));
    } else if tool.kind == ToolKind::LocalShell || property("command").is_some_and(is_list) {
        arguments.insert("command".to_owned(), json!(["bash", "-lc", command]));
    } else {
        arguments.insert("command".to_owned(), Value::from(command));
    }
    let required = tool.schema.get("required").and_then(Value::as_array);
    if required.is_some_and(|names| names.iter().any(|name| name == "description")) {
        arguments.insert("description".to_owned(), Value::from("asked for by the script"));
    }
    Value::Object(arguments)
}

fn patch(path: &str, text: &str, tools: &[Tool]) -> Option<Call> {
    let tool = find(&[PATCH], tools)?;
    let lines: String = text.lines().map(|line| format!("+{line}\n")).collect();
    let patch = format!("*** Begin Patch\n*** Add File: {path}\n{lines}*** End Patch\n");
    let arguments = match tool.kind {
        ToolKind::Custom => Value::from(patch),
        ToolKind::Function | ToolKind::LocalShell => json!({"input": patch}),
    };
    Some(of(tool, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, properties: &Value, kind: ToolKind) -> Tool {
        Tool {
            name: name.to_owned(),
            schema: json!({"properties": properties}),
            kind,
            namespace: None,
        }
    }

    #[test]
    fn the_shell_is_found_under_every_name() {
        let wish = Wish::Shell("ls".to_owned());
        let (bare, list) = (
            json!({"command": {"type": "string"}}),
            json!({"command": {"type": "array"}}),
        );
        for (tool, expected) in [
            (tool("Bash", &bare, ToolKind::Function), json!({"command": "ls"})),
            (
                tool("exec_command", &json!({"cmd": {}}), ToolKind::Function),
                json!({"cmd": "ls"}),
            ),
            (
                tool("shell", &list, ToolKind::Function),
                json!({"command": ["bash", "-lc", "ls"]}),
            ),
            (
                tool(CODE, &json!({}), ToolKind::Custom),
                json!("const r = await tools.exec_command({\"cmd\":\"ls\"}); text(r.output ?? r);"),
            ),
        ] {
            assert_eq!(call(&wish, &[tool]).unwrap().arguments, expected);
        }
        assert_eq!(call(&wish, &[]), None);
    }

    #[test]
    fn files_go_by_the_clients_own_words() {
        let read = tool("read_file", &json!({"absolute_path": {}}), ToolKind::Function);
        let found = call(&Wish::Read("/a".to_owned()), &[read]).unwrap();
        assert_eq!(found.arguments, json!({"absolute_path": "/a"}));
        let patch = tool(PATCH, &json!({}), ToolKind::Custom);
        let write = Wish::Write("a".to_owned(), "x\ny".to_owned());
        assert_eq!(
            call(&write, &[patch]).unwrap().arguments,
            json!("*** Begin Patch\n*** Add File: a\n+x\n+y\n*** End Patch\n")
        );
    }

    #[test]
    fn a_named_call_needs_no_offer() {
        let wish = Wish::Named("Nothing".to_owned(), "{\"a\":1}".to_owned());
        assert_eq!(call(&wish, &[]).unwrap().arguments, json!({"a": 1}));
    }
}
