package elsewhere;

import com.google.protobuf.ByteString;
import io.temporal.api.common.v1.Payload;
import io.temporal.common.SimplePlugin;
import io.temporal.common.context.ContextPropagator;
import io.temporal.common.interceptors.Header;
import io.temporal.common.interceptors.WorkerInterceptorBase;
import io.temporal.common.interceptors.WorkflowInboundCallsInterceptor;
import io.temporal.common.interceptors.WorkflowInboundCallsInterceptorBase;
import io.temporal.common.interceptors.WorkflowOutboundCallsInterceptor;
import io.temporal.common.interceptors.WorkflowOutboundCallsInterceptorBase;
import io.temporal.workflow.Workflow;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;

/**
 * Drops, inside each workflow, a signal that it has taken already.
 *
 * <p>Give it to the client that the workers are made with: {@code
 * WorkflowClientOptions.newBuilder().setPlugins(new Inbox())}. No workflow needs a line of its own. The handler of
 * a batched signal takes a {@code List}.
 */
public final class Inbox extends SimplePlugin {
  private static final String ID_HEADER = "turnout-id";
  private static final String SEEN_HEADER = "turnout-seen";
  private static final int ID_BYTES = 16;

  /** Part of the contract: with another window, the replay of a history would drop other signals. */
  private static final int WINDOW = 1_000;

  public Inbox() {
    super(
        SimplePlugin.newBuilder("turnout.inbox")
            .addWorkerInterceptors(new Interceptor())
            .addContextPropagators(new SeenHeader()));
  }

  private static final class Interceptor extends WorkerInterceptorBase {
    @Override
    public WorkflowInboundCallsInterceptor interceptWorkflow(WorkflowInboundCallsInterceptor next) {
      return new Inbound(next);
    }
  }

  private static final class Inbound extends WorkflowInboundCallsInterceptorBase {
    private final Seen seen = new Seen();

    Inbound(WorkflowInboundCallsInterceptor next) {
      super(next);
    }

    @Override
    public void init(WorkflowOutboundCallsInterceptor outbound) {
      super.init(new Outbound(outbound, seen));
    }

    @Override
    public void handleSignal(SignalInput input) {
      Payload header = input.getHeader().getValues().get(ID_HEADER);
      if (header == null) { // not from turnout
        super.handleSignal(input);
        return;
      }
      List<Boolean> news = new ArrayList<>();
      for (ByteString id : split(header.getData())) {
        news.add(seen.firstTime(id));
      }
      if (!news.contains(false)) {
        super.handleSignal(input);
        return;
      }
      long dropped = news.stream().filter(isNew -> !isNew).count();
      Workflow.getMetricsScope().counter("turnout_inbox_dropped").inc(dropped);
      if (news.contains(true)) {
        super.handleSignal(withoutRepeats(input, news));
      }
    }
  }

  private static final class Outbound extends WorkflowOutboundCallsInterceptorBase {
    private final Seen seen;

    Outbound(WorkflowOutboundCallsInterceptor next, Seen seen) {
      super(next);
      this.seen = seen;
    }

    @Override
    public void continueAsNew(ContinueAsNewInput input) {
      Map<String, Payload> headers = new HashMap<>(input.getHeader().getValues());
      headers.put(SEEN_HEADER, binary(seen.packed()));
      super.continueAsNew(
          new ContinueAsNewInput(
              input.getWorkflowType(), input.getOptions(), input.getArgs(), new Header(headers)));
    }
  }

  /** The newest ids, the oldest first. */
  private static final class Seen {
    private LinkedHashSet<ByteString> ids;

    boolean firstTime(ByteString id) {
      if (!known().add(id)) {
        return false;
      }
      if (ids.size() > WINDOW) {
        Iterator<ByteString> oldest = ids.iterator();
        oldest.next();
        oldest.remove();
      }
      return true;
    }

    ByteString packed() {
      return ByteString.copyFrom(known());
    }

    private LinkedHashSet<ByteString> known() {
      if (ids == null) {
        ids = new LinkedHashSet<>(split(SeenHeader.ofThisRun()));
      }
      return ids;
    }
  }

  /**
   * The header that this run was started with, in each of its threads.
   *
   * <p>Signals come before {@code execute}, the only call by which an interceptor is told of it.
   */
  private static final class SeenHeader implements ContextPropagator {
    private static final ThreadLocal<ByteString> CURRENT = new ThreadLocal<>();

    static ByteString ofThisRun() {
      ByteString packed = CURRENT.get();
      return packed == null ? ByteString.EMPTY : packed;
    }

    @Override
    public String getName() {
      return SEEN_HEADER;
    }

    @Override
    public Object deserializeContext(Map<String, Payload> header) {
      Payload payload = header.get(SEEN_HEADER);
      return payload == null ? ByteString.EMPTY : payload.getData();
    }

    @Override
    public Object getCurrentContext() {
      return ofThisRun();
    }

    @Override
    public void setCurrentContext(Object context) {
      CURRENT.set((ByteString) context);
    }

    @Override
    public Map<String, Payload> serializeContext(Object context) {
      return Map.of(); // activities and children are none of its business
    }
  }

  private static List<ByteString> split(ByteString packed) {
    List<ByteString> ids = new ArrayList<>();
    for (int start = 0; start < packed.size(); start += ID_BYTES) {
      ids.add(packed.substring(start, start + ID_BYTES));
    }
    return ids;
  }

  private static Payload binary(ByteString data) {
    return Payload.newBuilder()
        .putMetadata("encoding", ByteString.copyFromUtf8("binary/plain"))
        .setData(data)
        .build();
  }

  private static WorkflowInboundCallsInterceptor.SignalInput withoutRepeats(
      WorkflowInboundCallsInterceptor.SignalInput batch, List<Boolean> news) {
    Object[] arguments = batch.getArguments().clone();
    List<?> items = (List<?>) arguments[0];
    List<Object> left = new ArrayList<>();
    for (int n = 0; n < news.size(); n++) {
      if (news.get(n)) {
        left.add(items.get(n));
      }
    }
    arguments[0] = left;
    return new WorkflowInboundCallsInterceptor.SignalInput(
        batch.getSignalName(), arguments, batch.getEventId(), batch.getHeader());
  }
}
