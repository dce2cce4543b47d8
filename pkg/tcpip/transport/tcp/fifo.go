package tcp

// fifo is a queue in a slice, whose elements can be looked at by index from the oldest on. The
// zero value is empty.
type fifo[T any] struct {
	items []T
	first int
}

func (f *fifo[T]) len() int { return len(f.items) - f.first }

// at is the i-th oldest element, valid until the queue is changed.
func (f *fifo[T]) at(i int) *T { return &f.items[f.first+i] }

func (f *fifo[T]) push(x T) {
	if len(f.items) == cap(f.items) && f.first > len(f.items)/2 {
		f.compact()
	}
	f.items = append(f.items, x)
}

// pop drops the oldest element.
func (f *fifo[T]) pop() {
	var zero T
	f.items[f.first] = zero
	f.first++
	if f.first == len(f.items) {
		f.items, f.first = f.items[:0], 0
	}
}

// insert puts x before the i-th oldest element.
func (f *fifo[T]) insert(i int, x T) {
	f.push(x)
	at := f.items[f.first:]
	copy(at[i+1:], at[i:])
	at[i] = x
}

// remove takes n elements from the i-th on away.
func (f *fifo[T]) remove(i, n int) {
	at := f.items[f.first:]
	copy(at[i:], at[i+n:])
	clear(at[len(at)-n:])
	f.items = f.items[:len(f.items)-n]
	if f.first == len(f.items) {
		f.items, f.first = f.items[:0], 0
	}
}

func (f *fifo[T]) compact() {
	n := copy(f.items, f.items[f.first:])
	clear(f.items[n:])
	f.items, f.first = f.items[:n], 0
}
