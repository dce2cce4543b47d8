// Package epoll implements epoll(7).
//
// An EventPoll has items, each an open file description under a descriptor number with the
// events that are wanted, and a list of the items that may be ready. An item listens to its
// file by a waiter.Entry, whose notification puts it on the list: O(1) for each event,
// whatever the number of items. Wait takes items off the list, asks the file what is true
// now, reports that, and puts level-triggered items back at the end. An item leaves the list
// before its file is asked, so an edge that comes meanwhile puts it on the list again and is
// never lost.
//
// An item does not keep its file open: it belongs to the description, and dies with it.
// Items of closed files are found when they become ready and are swept when an
// EventPoll's items have doubled since it last looked.
//
// An EventPoll is a file and can be an item of another, five levels deep and never in a
// circle; links between them are recorded apart, under nestMu.
//
// Lock order: EventPoll.mu, outer before inner → locks of the items' files → their waiter
// queues → EventPoll.readyMu → waiter queue of the EventPoll → readyMu of an outer one.
// nestMu is a leaf.
package epoll
