//! What `cargo up` prints to be pasted, pasted.

use std::process::Command;

use countersign_stack::stack::free_port;
use countersign_stack::up;

use super::platform;

#[tokio::test]
async fn the_commands_that_cargo_up_prints_work_when_pasted() {
    let (stack, _folder) = platform().await;
    paste(&up::try_it(&stack, false), &["http_proxy", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"], &[])
        .await;
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn they_work_behind_a_proxy() {
    let (stack, _folder) = platform().await;
    let nobody = format!("http://127.0.0.1:{}", free_port().unwrap());
    paste(&up::try_it(&stack, true), &["no_proxy", "NO_PROXY"], &[("http_proxy", &nobody)]).await;
    stack.stop().await.unwrap();
}

async fn paste(block: &str, unset: &[&str], set: &[(&str, &str)]) {
    let commands = block.lines().filter_map(|line| line.strip_prefix("  "));
    let (preparing, commands): (Vec<_>, Vec<_>) = commands.partition(|line| line.starts_with("export "));
    assert_eq!(commands.len(), 6, "{block}");

    let script = commands.iter().map(|command| format!("{command}\necho; echo =====\n")).collect::<String>();
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(format!("{}\n{script}", preparing.join("\n"))).envs(set.iter().copied());
    for variable in unset {
        bash.env_remove(variable);
    }
    let output = tokio::task::spawn_blocking(move || bash.output().unwrap()).await.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let answers: Vec<_> = printed.split("=====").collect();
    let expected = [
        "\"access_token\"",
        "",
        "\"positions\"",
        "Authentication required",
        "\"symbol\":\"AAPL\"",
        "\"type\":\"quote\"",
    ];
    for ((command, answer), expected) in commands.iter().zip(answers).zip(expected) {
        assert!(answer.contains(expected), "{command}\nprinted {answer}");
    }
}
