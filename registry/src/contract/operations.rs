//! Long admin calls.

use serde_json::json;

use super::fixture::*;
use crate::{MOST_LISTED, Operation, OperationState};

fn push_operation(number: u64, state: OperationState) -> Operation {
    Operation {
        id: format!("op-{number}"),
        kind: "push".to_owned(),
        model: Some("fraud".to_owned()),
        version: None,
        state,
        progress: "loading".to_owned(),
        result: None,
        error: None,
        created_at: NOON + number,
        updated_at: NOON + number,
        created_by: "key:wbk_ada".to_owned(),
    }
}

pub async fn operations_are_written_over(registry: Shared) {
    let before = snapshot(&registry).await;
    let running = push_operation(1, OperationState::Running);
    registry.put_operation(&running).await.expect("an operation");
    assert_eq!(registry.operation("op-1").await.expect("an operation"), running);
    let done = Operation {
        state: OperationState::Done,
        version: Some(v(3)),
        progress: String::new(),
        result: Some(json!({ "version": 3 })),
        updated_at: NOON + 50,
        ..running
    };
    registry.put_operation(&done).await.expect("an operation");
    let failed = Operation {
        error: Some("no such file".to_owned()),
        ..push_operation(2, OperationState::Failed)
    };
    registry.put_operation(&failed).await.expect("an operation");
    let listed = registry.operations(10).await.expect("operations");
    assert_eq!(listed, [failed.clone(), done]);
    assert_eq!(registry.operations(1).await.expect("operations"), [failed]);
    assert_eq!(snapshot(&registry).await, before);
    assert!(events(&registry).await.is_empty());
}

pub async fn old_operations_are_dropped(registry: Shared) {
    let running = push_operation(0, OperationState::Running);
    registry.put_operation(&running).await.expect("an operation");
    for number in 1..=u64::from(MOST_LISTED) + 1 {
        let done = push_operation(number, OperationState::Done);
        registry.put_operation(&done).await.expect("an operation");
    }
    // What still runs stays, whatever its age.
    assert_eq!(registry.operation("op-0").await.expect("an operation"), running);
    not_found(registry.operation("op-1").await);
    registry.operation("op-2").await.expect("an operation");
    let listed = registry.operations(u32::MAX).await.expect("operations");
    assert_eq!(listed.len(), MOST_LISTED as usize);
}
