//! What `cargo up` prints to be pasted, pasted.

use std::process::Command;

use countersign_stack::up;

use super::platform;

#[tokio::test]
async fn the_commands_that_cargo_up_prints_work_when_pasted() {
    let (stack, _folder) = platform().await;
    let block = up::try_it(&stack);
    let commands: Vec<_> = block.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert_eq!(commands.len(), 6, "{block}");

    let script = commands.iter().map(|command| format!("{command}\necho; echo =====\n")).collect::<String>();
    let output = tokio::task::spawn_blocking(|| Command::new("bash").arg("-c").arg(script).output().unwrap());
    let output = output.await.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let answers: Vec<_> = printed.split("=====").collect();
    let expected = [
        "\"access_token\"",
        "",
        "\"positions\"",
        "Missing authentication token",
        "\"symbol\":\"AAPL\"",
        "\"type\":\"quote\"",
    ];
    for ((command, answer), expected) in commands.iter().zip(answers).zip(expected) {
        assert!(answer.contains(expected), "{command}\nprinted {answer}");
    }
    stack.stop().await.unwrap();
}
