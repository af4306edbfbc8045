//! Changes of fees: their times, their end, their deletion, and the undoing of a batch.

use communal_proto::community::v1::*;

use crate::charging::{charge_room, everything, owned};
use crate::harness::*;

/// A room with one fee from 2024-01-01 on; returns the fee.
async fn one_fee(service: &Service) -> FeeDetail {
    let caller = service.caller();
    let item = service.item("物业费").await;
    caller.register(HOME, vec![PayerObject { built_up_area: "60".into(), ..owned("R1", "O1") }]).await.unwrap();
    caller.save_room_create_fee(charge_room(&item, "R1")).await.unwrap();
    caller.list_fee(everything()).await.unwrap().fees.remove(0)
}

fn times(fee_id: &str, start: &str, end: &str, limit: &str) -> UpdateFeeRequest {
    UpdateFeeRequest {
        community_id: HOME.into(),
        fee_id: fee_id.into(),
        start_time: start.into(),
        end_time: end.into(),
        max_end_time: limit.into(),
        ..UpdateFeeRequest::default()
    }
}

fn finish(fee_id: &str) -> FinishFeeRequest {
    FinishFeeRequest { community_id: HOME.into(), fee_id: fee_id.into() }
}

fn delete(fee_id: &str) -> DeleteFeeRequest {
    DeleteFeeRequest { community_id: HOME.into(), fee_id: fee_id.into() }
}

impl Service {
    /// Pays January of every fee, as a payment will: a line, and the paid-through time.
    async fn pay_january(&self) {
        self.execute(
            "WITH paid AS (
                 UPDATE pay_fee SET end_time = '2024-02-01' RETURNING community_id, fee_id
             )
             INSERT INTO pay_fee_detail (community_id, detail_id, fee_id, state, span_from, span_until)
             SELECT community_id, fee_id, fee_id, '1400', '2024-01-01', '2024-02-01' FROM paid",
        )
        .await;
    }
}

#[tokio::test]
async fn times_move_where_no_payment_contradicts() {
    let service = Service::start().await;
    let caller = service.caller();
    let id = one_fee(&service).await.fee_id;
    caller.update_fee(times(&id, "2024-01-15", "2024-02-15", "2024-12-31")).await.unwrap();
    let fee = caller.list_fee(everything()).await.unwrap().fees.remove(0);
    assert_eq!((fee.start_time.as_str(), fee.end_time.as_str()), ("2024-01-15 00:00:00", "2024-02-15 00:00:00"));
    // Due to 14 April: February and March periods.
    assert_eq!((fee.max_end_time.as_str(), fee.amount_owed.as_str()), ("2024-12-31 23:59:59", "500.00"));
    assert_eq!(fields(caller.update_fee(times(&id, "2024-02-01", "2024-01-01", "2024-12-31")).await), ["end_time"]);
    assert_eq!(fields(caller.update_fee(times(&id, "2024-01-01", "2024-03-01", "2024-02-28")).await), ["max_end_time"]);
    // It stays within the validity of its item.
    assert_eq!(fields(caller.update_fee(times(&id, "2051-01-01", "2051-01-01", "2051-12-31")).await), ["start_time"]);
    assert_eq!(fields(caller.update_fee(times(&id, "2023-01-01", "2023-01-01", "2023-12-31")).await), ["max_end_time"]);
    let unknown = caller.update_fee(times("909", "2024-01-01", "2024-01-01", "2024-12-31")).await;
    assert_eq!(refusal(unknown), refused("FEE_NOT_FOUND", "未查询到费用信息 或查询到多条"));

    caller.update_fee(times(&id, "2024-01-01", "2024-01-01", "2024-12-31")).await.unwrap();
    service.pay_january().await;
    let moved = caller.update_fee(times(&id, "2024-01-02", "2024-02-01", "2024-12-31")).await;
    assert_eq!(refusal(moved).0, "PAYMENTS_CONTRADICT");
    let unpaid = caller.update_fee(times(&id, "2024-01-01", "2024-03-01", "2024-12-31")).await;
    assert_eq!(refusal(unpaid).0, "PAYMENTS_CONTRADICT");
    let cut = caller.update_fee(times(&id, "2024-01-01", "2024-02-01", "2024-01-30")).await;
    assert_eq!(fields(cut), ["max_end_time"]);
    caller.update_fee(times(&id, "2024-01-01", "2024-02-01", "2024-06-30")).await.unwrap();
    // Cut to the last paid day, the fee is over.
    caller.update_fee(times(&id, "2024-01-01", "2024-02-01", "2024-01-31")).await.unwrap();
    let fee = caller.list_fee(everything()).await.unwrap().fees.remove(0);
    assert_eq!((fee.state(), fee.amount_owed.as_str()), (FeeState::Ended, "0.00"));
    assert_eq!(refusal(caller.update_fee(times(&id, "2024-01-01", "2024-02-01", "2024-06-30")).await).0, "FEE_ENDED");
    // Each change is in the history, with who made it.
    let by_hand =
        "SELECT count(*) FROM platform.change WHERE noun = 'fee' AND before IS NOT NULL AND after IS NOT NULL";
    assert_eq!(service.count(by_hand).await, 5);
}

#[tokio::test]
async fn a_finished_fee_owes_nothing_and_its_history_says_what_was_waived() {
    let service = Service::start().await;
    let caller = service.caller();
    let fee = one_fee(&service).await;
    assert_eq!(fee.amount_owed, "750.00");
    caller.finish_fee(finish(&fee.fee_id)).await.unwrap();
    let ended = caller.list_fee(everything()).await.unwrap().fees.remove(0);
    assert_eq!((ended.state(), ended.amount_owed.as_str()), (FeeState::Ended, "0.00"));
    let waived = "SELECT (after ->> 'waived')::numeric::int8 FROM platform.change WHERE noun = 'fee'";
    assert_eq!(service.count(waived).await, 750);
    assert_eq!(refusal(caller.finish_fee(finish(&fee.fee_id)).await), refused("FEE_CANNOT_FINISH", "结束费用失败"));
    assert_eq!(refusal(caller.finish_fee(finish("909")).await).0, "FEE_NOT_FOUND");
    let elsewhere = FinishFeeRequest { community_id: OTHER.into(), ..finish(&fee.fee_id) };
    assert_eq!(refusal(caller.finish_fee(elsewhere).await).0, "FEE_NOT_FOUND");
}

#[tokio::test]
async fn whatever_a_fee_owes_it_can_be_finished() {
    let service = Service::start().await;
    let caller = service.caller();
    let rent = service.formula_item("租金", "1102", FeeFlag::Periodic).await;
    caller.register(HOME, vec![owned("R1", "O1")]).await.unwrap();
    // Ten times as much each month, thirteen times.
    let charge = SaveRoomCreateFeeRequest {
        start_time: "2023-02-01".into(),
        rate_cycle: "1".into(),
        rate: "9".into(),
        rate_start_time: "2023-03-01".into(),
        ..charge_room(&rent, "R1")
    };
    caller.save_room_create_fee(charge).await.unwrap();
    let fee = caller.list_fee(everything()).await.unwrap().fees.remove(0);
    assert_eq!(fee.amount_owed, "11111111111111000.00");
    caller.finish_fee(finish(&fee.fee_id)).await.unwrap();
    let waived = "SELECT (after ->> 'waived')::numeric::int8 FROM platform.change WHERE noun = 'fee'";
    assert_eq!(service.count(waived).await, 11_111_111_111_111_000);
}

#[tokio::test]
async fn a_fee_is_deleted_only_while_nothing_is_paid() {
    let service = Service::start().await;
    let caller = service.caller();
    let fee = one_fee(&service).await;
    service.pay_january().await;
    let text = "存在缴费记录，不能取消，如果需要取消，请先退费";
    assert_eq!(refusal(caller.delete_fee(delete(&fee.fee_id)).await), refused("FEE_HAS_PAYMENTS", text));
    // Refunded, it may go, and the room may be charged again.
    service.execute("UPDATE pay_fee_detail SET state = '1100'").await;
    caller.delete_fee(delete(&fee.fee_id)).await.unwrap();
    assert_eq!(refusal(caller.delete_fee(delete(&fee.fee_id)).await), refused("FEE_NOT_FOUND", "删除失败"));
    assert_eq!(caller.list_fee(everything()).await.unwrap().total, 0);
    caller.save_room_create_fee(charge_room(&fee.config_id, "R1")).await.unwrap();
}

#[tokio::test]
async fn a_batch_is_undone_by_two_operators_and_only_unpaid() {
    let service = Service::start().await;
    let caller = service.caller();
    let item = service.item("物业费").await;
    let rooms: Vec<String> = (0..3).map(|n| format!("R{n}")).collect();
    caller.register(HOME, rooms.iter().map(|id| owned(id, "O1")).collect()).await.unwrap();
    let charge = || RoomCreatePayFeeRequest {
        community_id: HOME.into(),
        config_id: item.clone(),
        start_time: "2024-01-01".into(),
        room_ids: rooms.clone(),
        remark: "三月".into(),
        ..RoomCreatePayFeeRequest::default()
    };
    caller.room_create_pay_fee(charge()).await.unwrap();
    let list = |state: BatchState| ListPayFeeBatchRequest {
        page: 1,
        row: 10,
        community_id: HOME.into(),
        state: state.into(),
        ..ListPayFeeBatchRequest::default()
    };
    let batch = caller.list_pay_fee_batch(list(BatchState::Normal)).await.unwrap().data.remove(0);
    assert_eq!((batch.remark.as_str(), batch.create_user_name.as_str()), ("三月", OPERATOR_NAME));
    let apply = |id: &str| ApplyDeletePayFeeBatchCmdRequest {
        batch_id: id.into(),
        community_id: HOME.into(),
        remark: "录错".into(),
    };
    let decide = |decision: Decision| UpdatePayFeeBatchRequest {
        batch_id: batch.batch_id.clone(),
        community_id: HOME.into(),
        state: decision.into(),
        msg: "意见".into(),
    };
    let early = caller.update_pay_fee_batch(decide(Decision::Approved)).await;
    assert_eq!(refusal(early), refused("BATCH_STATE", "该批次没有待审核的取消申请"));
    assert_eq!(refusal(caller.apply_delete_pay_fee_batch_cmd(apply("959")).await).0, "BATCH_NOT_FOUND");
    caller.apply_delete_pay_fee_batch_cmd(apply(&batch.batch_id)).await.unwrap();
    assert_eq!(refusal(caller.apply_delete_pay_fee_batch_cmd(apply(&batch.batch_id)).await).0, "BATCH_STATE");
    let own = caller.update_pay_fee_batch(decide(Decision::Approved)).await;
    assert_eq!(refusal(own), refused("SELF_APPROVAL", "不能审核自己的申请"));
    // Refused, it stays; asked for again, it can be decided again.
    caller.update_pay_fee_batch(decide(Decision::Refused)).await.unwrap();
    let kept = caller.list_pay_fee_batch(list(BatchState::UndoRefused)).await.unwrap().data.remove(0);
    assert_eq!((kept.remark.as_str(), kept.msg.as_str(), kept.state_name.as_str()), ("录错", "意见", "取消失败"));
    caller.apply_delete_pay_fee_batch_cmd(apply(&batch.batch_id)).await.unwrap();
    service.pay_january().await;
    caller.set(&[("BATCH_SELF_APPROVAL", "ON")]).await.unwrap();
    let paid = caller.update_pay_fee_batch(decide(Decision::Approved)).await;
    assert_eq!(refusal(paid), refused("FEE_HAS_PAYMENTS", "该批次有3笔费用存在缴费记录，不能取消，请先退费"));
    service.execute("UPDATE pay_fee_detail SET state = '1100'").await;
    caller.update_pay_fee_batch(decide(Decision::Approved)).await.unwrap();
    assert_eq!(caller.list_fee(everything()).await.unwrap().total, 0);
    caller.room_create_pay_fee(charge()).await.unwrap();
    assert_eq!(caller.list_pay_fee_batch(list(BatchState::Undone)).await.unwrap().total, 1);
}
